"""What a run writes down: metrics by module and step type, warnings, and episodes."""

import json

import pytest
from letters import records, train

from progym.agents.grpo.warning_signs import STEPS, WarningSigns
from progym.agents.stage import Task
from progym.envs.errors import MissingExtra, ServiceFault, UnknownName

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def test_records_name_modules_and_their_measures(random_lm, tmp_path):
    train(random_lm, tmp_path, max_steps=1)
    [record] = records(tmp_path)
    assert record["modules"].keys() == {"ask", "tell"}
    assert record["modules"]["ask"]["entropy"] > 0
    assert record["modules"]["ask"]["calls"] == record["rollouts"] == 8
    assert {"loss", "grad_norm", "reward", "frac_reward_zero_std", "time/update"} <= record.keys()


def test_step_types_add_up_to_their_module(random_lm, tmp_path):
    train(random_lm, tmp_path, max_steps=1)
    [record] = records(tmp_path)
    types, modules = record["step_types"], record["modules"]
    assert {"ask:0", "tell:0", "tell:1"} == types.keys()
    for name in ("calls", "tokens/completion", "tokens/prompt"):
        assert types["tell:0"][name] + types["tell:1"][name] == modules["tell"][name]
    assert min(types[n]["entropy"] for n in ("tell:0", "tell:1")) <= modules["tell"]["entropy"]
    assert modules["tell"]["entropy"] <= max(types[n]["entropy"] for n in ("tell:0", "tell:1"))


@pytest.mark.parametrize("name", ["entropy", "kl", "clip_ratio/region_mean"])
def test_modules_add_up_to_what_trl_logs_of_one_batch(random_lm, tmp_path, name):
    train(random_lm, tmp_path, num_iterations=2, max_steps=1, beta=0.1)
    last = records(tmp_path)[-1]
    modules = last["modules"].values()
    tokens = sum(metrics["tokens/trained"] for metrics in modules)
    pooled = sum(metrics[name] * metrics["tokens/trained"] for metrics in modules) / tokens
    assert last[name] == pytest.approx(pooled, rel=1e-4, abs=1e-6)


def test_gradients_of_modules_are_known_and_bound_that_of_the_step(random_lm, tmp_path):
    train(random_lm, tmp_path, max_steps=1)
    [record] = records(tmp_path)
    norms = [metrics["grad_norm"] for metrics in record["modules"].values()]
    assert min(norms) > 0
    assert record["grad_norm"] <= sum(norms) + 1e-6


def test_the_record_of_a_step_that_failed_has_nothing_of_the_step_before(
    random_lm, tmp_path, monkeypatch
):
    from progym.agents.grpo.exploring import Explorer

    draw = Explorer.train

    def fail_late(explorer, step):
        if step:
            raise ServiceFault("down")
        return draw(explorer, step)

    monkeypatch.setattr(Explorer, "train", fail_late)
    with pytest.raises(ServiceFault):
        train(random_lm, tmp_path)
    last = records(tmp_path)[-1]
    assert (last["step"], last["modules"], "reward" in last) == (1, {}, False)


def test_a_module_that_learns_nothing_is_warned_of_once(random_lm, tmp_path, caplog):
    task = Task("Letters-v0", {"level": True})
    train(random_lm, tmp_path, task=task, max_steps=7, max_completion_length=2)
    told = [r.getMessage() for r in caplog.records if "learns nothing" in r.getMessage()]
    assert sorted("'ask'" in text for text in told) == [False, True]


def watched(*steps):
    signs = WarningSigns()
    return [sign for step in steps for sign in signs.watch({"ask": step})]


def step(*, entropy=1.0, level=0.0, reward=0.25):
    return {"frac_reward_zero_std": level, "entropy": entropy, "reward": reward}


def test_a_module_whose_entropy_collapses_is_warned_of_once():
    falling = [step(entropy=1.0)] * STEPS + [step(entropy=0.01)] * (2 * STEPS)
    [sign] = watched(*falling)
    assert "entropy of module 'ask' fell from 1.000 to 0.010" in sign
    assert watched(*[step(entropy=1.0)] * 3 * STEPS) == []


def test_a_module_that_is_sure_because_it_is_right_is_not_warned_of():
    learning = [step(entropy=1.0)] * STEPS + [step(entropy=0.01, reward=0.9)] * (2 * STEPS)
    assert watched(*learning) == []


def test_groups_without_variance_must_come_in_a_row():
    level, uneven = step(level=1.0), step(level=0.9)
    assert watched(*[level] * (STEPS - 1), uneven, *[level] * (STEPS - 1)) == []
    assert len(watched(*[level] * (2 * STEPS))) == 1


def test_warnings_stand_in_the_record(random_lm, tmp_path):
    task = Task("Letters-v0", {"level": True})
    train(random_lm, tmp_path, task=task, max_steps=STEPS, max_completion_length=2)
    told = [record["warnings"] for record in records(tmp_path)]
    assert told[:-1] == [[]] * (STEPS - 1)
    assert len(told[-1]) == 2


def test_runs_of_one_example_are_kept_with_their_advantages(random_lm, tmp_path):
    watch = {"record_every": 2}
    train(random_lm, tmp_path, max_steps=4, groups={"padding": "ragged"}, watch=watch)
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0] * 4 + [2] * 4 + [3] * 4
    assert len({line["example_id"] for line in lines if line["step"] == 0}) == 1
    first = [line["calls"][0]["advantages"][0] for line in lines if line["step"] == 0]
    assert sum(first) == pytest.approx(0, abs=1e-9)
    assert any(first)


@pytest.fixture
def sent(monkeypatch):
    """What a reporter of transformers' is sent, by update."""
    from transformers import TrainerCallback
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    from progym.agents.grpo import trl_settings

    found: list[tuple[int, dict[str, float]]] = []

    class Reporter(TrainerCallback):
        def on_log(self, args, state, control, **kwargs):
            found.append((state.global_step, dict(kwargs["logs"])))

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "list", Reporter)
    monkeypatch.setattr(trl_settings, "get_available_reporting_integrations", lambda: ["list"])
    return found


def test_reporters_are_sent_each_number_of_the_file_once(random_lm, tmp_path, sent):
    watch = {"report_to": "list", "eval_every": 1, "eval_examples": 2}
    train(random_lm, tmp_path, max_steps=2, num_iterations=2, watch=watch)
    lines = records(tmp_path)
    numbers = [(update, name) for update, values in sent for name in values if name != "epoch"]
    assert len(numbers) == len(set(numbers))
    values = {
        (update, name): value for update, sent_then in sent for name, value in sent_then.items()
    }
    evaluations = [line["score"] for line in lines if line["split"] == "val"]
    assert [values[update, "eval_score"] for update in (0, 2, 4)] == evaluations
    updates = [line for line in lines if line["split"] == "train"]
    for line in updates:
        update = line.pop("update")
        for name in ("loss", "grad_norm", "reward", "score"):
            assert values[update, name] == line[name]
        for table in ("modules", "step_types"):
            for key, metrics in line[table].items():
                for name, value in metrics.items():
                    assert values[update, f"{table}/{key}/{name}"] == value
    assert [update for update, name in numbers if name == "loss"] == [1, 2, 3, 4]


def test_reporters_of_a_run_that_goes_on_count_on(random_lm, tmp_path, sent, monkeypatch):
    from progym.agents.grpo.exploring import Explorer

    watch, draw = {"report_to": ["list"], "save_every": 1}, Explorer.train

    def stop(explorer, step):
        if step == 2:
            raise KeyboardInterrupt
        return draw(explorer, step)

    with monkeypatch.context() as patch:
        patch.setattr(Explorer, "train", stop)
        with pytest.raises(KeyboardInterrupt):
            train(random_lm, tmp_path, max_steps=4, watch=watch)
    train(random_lm, tmp_path, max_steps=4, watch=watch)
    assert [update for update, values in sent if "loss" in values] == [1, 2, 3, 4]


def test_a_reporter_that_is_unknown_or_not_installed_is_named(random_lm, tmp_path, monkeypatch):
    from progym.agents.grpo import trl_settings

    with pytest.raises(UnknownName, match="Did you mean 'tensorboard'"):
        train(random_lm, tmp_path / "a", watch={"report_to": "tensorbord"})
    monkeypatch.setattr(trl_settings, "get_available_reporting_integrations", list)
    with pytest.raises(MissingExtra, match=r"'tensorboard'.*not installed"):
        train(random_lm, tmp_path / "b", watch={"report_to": "tensorboard"})
