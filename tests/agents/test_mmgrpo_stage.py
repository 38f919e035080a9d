"""The stage `mmgrpo` on a program of two modules, with a random model that is made fluent."""

from typing import Any

import pytest
from letters import LETTERS, ask, config, load_fluent, records, tell, train, weights

from progym.agents.policy import Policy
from progym.agents.stage import Task
from progym.envs.errors import BadValue, ProgymError, ServiceFault, TrainingDiverged
from progym.envs.module import StepType
from progym.envs.rendering import Call, render

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def test_training_raises_the_score(random_lm, tmp_path):
    result = train(random_lm, tmp_path, max_steps=12, watch={"eval_every": 12})
    first, last = (point.score for point in result.curve if point.split == "val")
    assert last > first + 0.2


@pytest.mark.parametrize("seed", [0, 1])
def test_seed_0_is_a_seed_like_any_other(random_lm, tmp_path, seed):
    for name in "ab":
        train(random_lm, tmp_path / name, seed=seed, max_steps=1)
    train(random_lm, tmp_path / "other", seed=seed + 1, max_steps=1)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "other")


def test_a_second_stage_goes_on_with_the_adapter(random_lm, tmp_path):
    watch = {"eval_every": 12, "keep_best": False}
    first = train(random_lm, tmp_path / "1", max_steps=12, watch=watch)
    more: dict[str, Any] = {"policy": first.policy, "max_steps": 1, "beta": 0.1}
    more["watch"] = {"eval_every": 1}
    again = train(random_lm, tmp_path / "2", **more)
    assert again.curve[0].split == "val"
    assert again.curve[0].score == first.curve[-1].score
    # The reference is the adapter that came, not the bare base.
    assert next(r["kl"] for r in records(tmp_path / "2") if "kl" in r) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "lora",
    [{"r": 8}, {"lora_alpha": 8}, {"lora_dropout": 0.1}, {"target_modules": ("q_proj", "v_proj")}],
)
def test_settings_that_the_given_adapter_has_not_are_refused(random_lm, tmp_path, lora):
    first = train(random_lm, tmp_path / "1", max_steps=1)
    with pytest.raises(BadValue, match=next(iter(lora))):
        train(random_lm, tmp_path / "2", policy=first.policy, lora=lora)


def test_an_adapter_of_some_layers_is_not_one_of_all(random_lm, tmp_path):
    some = {"target_modules": ("q_proj", "v_proj")}
    first = train(random_lm, tmp_path / "1", max_steps=1, lora=some)
    with pytest.raises(BadValue, match="target_modules=all-linear"):
        train(random_lm, tmp_path / "2", policy=first.policy)
    train(random_lm, tmp_path / "3", policy=first.policy, max_steps=1, lora=some)


def test_training_draws_nothing_from_the_process(random_lm, tmp_path):
    import torch

    for name in "ab":
        train(random_lm, tmp_path / name, lora={"lora_dropout": 0.2})
        torch.rand(7)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_loading_an_adapter_draws_nothing_from_the_process(random_lm, tmp_path):
    import torch

    from progym.agents.models import load_model

    policy = train(random_lm, tmp_path, max_steps=1).policy
    before = torch.get_rng_state()
    load_model(policy)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_first_update_has_a_learning_rate(random_lm, tmp_path):
    train(random_lm, tmp_path, max_steps=20, examples_per_step=1, max_completion_length=2)
    rates = [record["learning_rate"] for record in records(tmp_path)]
    assert rates[0] == pytest.approx(1e-2 / 2)
    assert rates[1:] == [pytest.approx(1e-2)] * 19


@pytest.mark.parametrize(("loss_type", "high"), [("cispo", 5.0), ("grpo", None)])
def test_cispo_clamps_ratios_at_a_limit_of_its_own(tmp_path, loss_type, high):
    from progym.agents.grpo.trl_settings import trl_config

    values = trl_config(config(loss_type=loss_type), tmp_path, 0, on_cpu=True)
    assert (values.epsilon, values.epsilon_high) == (0.2, high)


def test_costs_and_curve_count_what_was_spent(random_lm, tmp_path):
    result = train(random_lm, tmp_path, watch={"eval_every": 2, "eval_examples": 3})
    points = [(point.step, point.split, point.rollouts) for point in result.curve]
    assert points == [(0, "val", 3), (0, "train", 11), (1, "train", 19), (2, "val", 22)]
    assert result.cost.rollouts == 22
    assert result.cost.seconds > 0


def test_a_finished_folder_is_read_not_run_again(random_lm, tmp_path):
    result = train(random_lm, tmp_path, max_steps=1)
    (tmp_path / "metrics.jsonl").unlink()
    assert train(random_lm, tmp_path, max_steps=1) == result
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_folder_of_another_run_is_refused(random_lm, tmp_path):
    train(random_lm, tmp_path, max_steps=1)
    with pytest.raises(BadValue, match="another config"):
        train(random_lm, tmp_path, max_steps=1, seed=5)


def test_faults_are_left_out_of_a_step(random_lm, tmp_path):
    task = Task("Letters-v0", {"broken": (0, 1)})
    train(random_lm, tmp_path, task=task, max_steps=1, examples_per_step=6)
    assert records(tmp_path)[0]["rollouts/faults"] == 8


def test_a_step_of_faults_alone_is_an_error(random_lm, tmp_path):
    task = Task("Letters-v0", {"broken": tuple(range(6))})
    with pytest.raises(ServiceFault, match="the scorer is down"):
        train(random_lm, tmp_path, task=task)


def test_an_evaluation_with_a_fault_is_an_error_not_a_mean_of_the_rest(random_lm, tmp_path):
    task = Task("Letters-v0", {"broken": (0,)})
    with pytest.raises(ServiceFault, match="1 of 6 val episodes of step 0"):
        train(random_lm, tmp_path, task=task, watch={"eval_every": 1})


def test_evaluations_sample_as_training_does(random_lm, tmp_path):
    from progym.agents.grpo.exploring import Explorer
    from progym.agents.grpo.teaching import Actor

    policy = Policy(str(random_lm))
    watched = config(watch={"eval_every": 1})
    one, other = (
        Explorer(
            LETTERS,
            policy,
            [Actor(load_fluent(policy), policy.prompts)],
            config=watched,
            seed=seed,
        )
        for seed in range(2)
    )
    assert one.validate(0) == one.validate(1) != other.validate(0)


def test_a_loss_that_is_not_finite_leaves_a_record_and_no_adapter(random_lm, tmp_path, monkeypatch):
    from progym.agents.grpo import learning

    def ruined(*_, **__):
        from progym.agents.grpo.batch import Row

        return [Row(StepType("ask", 0), (5, 6), (7,), float("nan"))]

    monkeypatch.setattr(learning, "make_rows", ruined)
    with pytest.raises(TrainingDiverged, match="not touched"):
        train(random_lm, tmp_path)
    assert "loss" in records(tmp_path)[-1]["error"]
    assert not (tmp_path / "adapter").exists()


def test_a_gradient_that_is_not_finite_is_found_before_the_weights_move():
    import torch

    from progym.agents.grpo.gradients import check_gradients

    layer = torch.nn.Linear(2, 1)
    layer.weight.grad = torch.tensor([[0.0, float("inf")]])
    with pytest.raises(TrainingDiverged, match="gradient of step 3"):
        check_gradients(layer, 3)


def test_an_update_that_ruins_the_model_leaves_a_record_and_no_adapter(random_lm, tmp_path):
    with pytest.raises(ProgymError):
        train(random_lm, tmp_path, learning_rate=1e30, max_grad_norm=1e30, max_steps=3)
    assert "error" in records(tmp_path)[-1]
    assert not (tmp_path / "adapter").exists()


def test_mistake_5_training_scores_what_sampling_drew(random_lm):
    from progym.agents.grpo.scoring import score_rows
    from progym.agents.model import GenerationRequest, Sampling

    model = load_fluent(Policy(str(random_lm)))
    calls = [module(**{module.inputs[0].name: word}) for module in (ask, tell) for word in "xyz"]
    requests = [
        GenerationRequest(render(call), seed, call.module.name, call)
        for seed, call in enumerate(Call(c.module, 0, c.inputs) for c in calls)
    ]
    drawn = model.generate(requests, Sampling(1.0, 5))
    rows = [(completion.prompt_ids, completion.token_ids) for completion in drawn]
    scores = score_rows(model.model, rows, width=5, temperature=1.0)
    for completion, scored in zip(drawn, scores.logprobs.tolist(), strict=True):
        length = len(completion.logprobs)
        assert scored[:length] == pytest.approx(completion.logprobs, abs=1e-4)
        assert scored[length:] == [0.0] * (5 - length)
