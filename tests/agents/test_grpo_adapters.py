"""Which modules learn, and with which adapter; the others stay as they were."""

from typing import Any

import pytest
from letters import LETTERS, config, load_fluent, records, train

from progym.agents.grpo.exploring import Explorer
from progym.agents.grpo.teaching import Actor
from progym.agents.models import load_model
from progym.agents.models.routed import RoutedModel
from progym.agents.models.scripted import ScriptedModel
from progym.agents.policy import Policy, load_policy, save_policy
from progym.agents.stage import Task
from progym.envs.errors import BadValue, PromptTooLong, UnknownName

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SHORT: dict[str, Any] = {"max_steps": 2, "max_completion_length": 4, "beta": 0.1}


def file(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


def val_calls(policy, seed=7):
    """What the policy's modules write in some episodes."""
    explorer = Explorer(
        LETTERS, policy, [Actor(load_fluent(policy), policy.prompts)], config=config(), seed=seed
    )
    return [(c.module, c.completion) for e in explorer.train(0) for c in e.calls]


def test_modules_have_adapters_of_their_own(random_lm, tmp_path):
    policy = train(random_lm, tmp_path, lora={"per_module": True}, **SHORT).policy
    assert policy.adapter is None
    assert policy.adapters == {m: tmp_path / "adapters" / m for m in ("ask", "tell")}
    assert file(policy.adapters["ask"]) != file(policy.adapters["tell"])


def test_policies_with_adapters_by_module_come_back_and_act_alike(random_lm, tmp_path):
    trained = train(random_lm, tmp_path / "run", lora={"per_module": True}, **SHORT)
    assert train(random_lm, tmp_path / "run", lora={"per_module": True}, **SHORT) == trained
    saved = save_policy(trained.policy, tmp_path / "policy")
    assert load_policy(tmp_path / "policy") == saved
    assert val_calls(saved) == val_calls(trained.policy) != val_calls(Policy(str(random_lm)))


def test_a_second_run_starts_from_each_modules_adapter(random_lm, tmp_path, monkeypatch):
    lora = {"per_module": True}
    policy = train(random_lm, tmp_path / "1", lora=lora, **SHORT).policy
    kept = {"keep_best": True, "eval_every": 1}
    # Nothing is better than the evaluation before the first step: the start is what is kept.
    found = iter((0.9, 0.1, 0.1))
    monkeypatch.setattr(Explorer, "validate", lambda *_: next(found))
    again = train(random_lm, tmp_path / "2", policy=policy, lora=lora, watch=kept, **SHORT)
    first = next(r for r in records(tmp_path / "2") if "kl" in r)
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert again.policy.adapters.keys() == {"ask", "tell"}
    for module, folder in again.policy.adapters.items():
        assert file(folder) == file(policy.adapters[module])


def test_a_module_with_an_adapter_of_its_own_is_not_trained_with_the_others(random_lm, tmp_path):
    policy = train(random_lm, tmp_path / "1", lora={"per_module": True}, **SHORT).policy
    with pytest.raises(BadValue, match=r"adapters of their own for ask, tell.*lora.per_module"):
        train(random_lm, tmp_path / "2", policy=policy, **SHORT)


@pytest.mark.parametrize("per_module", [False, True])
def test_mistake_13_frozen_modules_answer_and_stay_as_they_were(random_lm, tmp_path, per_module):
    lora = {"frozen": ["ask"], "per_module": per_module}
    policy = train(random_lm, tmp_path, lora=lora, **SHORT).policy
    record = records(tmp_path)[-1]
    assert record["modules"]["ask"]["groups"] == 0 < record["modules"]["tell"]["groups"]
    assert record["modules"]["ask"]["calls"] > 0
    assert policy.adapter is None
    assert set(policy.adapters) == {"tell"}
    before = [text for module, text in val_calls(Policy(str(random_lm))) if module == "ask"]
    assert [text for module, text in val_calls(policy) if module == "ask"] == before


def test_mistake_13_a_module_may_be_another_models(random_lm, tmp_path, monkeypatch):
    from progym.agents import models

    said = ScriptedModel(lambda call, seed: "Query: abc")
    monkeypatch.setitem(models._SCRIPTED, "said", lambda: said)  # pyright: ignore[reportPrivateUsage]
    policy = Policy(str(random_lm), models={"ask": "said"})
    result = train(random_lm, tmp_path, policy=policy, **SHORT)
    [ask] = {call["completion"] for run in runs(tmp_path) for call in run["calls"][:1]}
    assert ask == "Query: abc"
    assert result.policy.models == {"ask": "said"}
    assert records(tmp_path)[-1]["modules"]["tell"]["groups"] > 0
    assert isinstance(load_model(result.policy), RoutedModel)


def runs(folder):
    import json

    return [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("lora", "error", "text"),
    [
        ({"frozen": ["asks"]}, UnknownName, "Did you mean 'ask'"),
        ({"frozen": ["ask", "tell"]}, BadValue, "nothing to train"),
        ({"frozen": "ask"}, BadValue, "list of modules"),
    ],
)
def test_modules_that_cannot_be_frozen_are_named(random_lm, tmp_path, lora, error, text):
    with pytest.raises(error, match=text):
        train(random_lm, tmp_path, lora=lora, **SHORT)


def test_prompts_that_are_too_long_are_told_of_all_models_together(random_lm):
    from progym.agents.model import GenerationRequest, Sampling

    class Refusing:
        name = "refusing"

        def generate(self, requests, sampling):
            raise PromptTooLong("too long", [len(requests) - 1])

    model = RoutedModel(Refusing(), {"b": Refusing()})
    wanted = [GenerationRequest((), 0, module) for module in "abaab"]
    with pytest.raises(PromptTooLong) as caught:
        model.generate(wanted, Sampling())
    assert caught.value.positions == (3, 4)


def test_a_step_without_rows_changes_no_modules_adapter(random_lm, tmp_path):
    lora, level = {"per_module": True}, Task("Letters-v0", {"level": True})
    policy = train(random_lm, tmp_path, task=level, lora=lora, max_steps=1, beta=0.0).policy
    assert val_calls(policy) == val_calls(Policy(str(random_lm)))
