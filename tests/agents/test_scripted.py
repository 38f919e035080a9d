"""The scripted models: functions, the gold policy and noise."""

from typing import Any

import pytest

from progym.agents.model import GenerationRequest, LanguageModel, Sampling
from progym.agents.models import load_model
from progym.agents.models.scripted import GarbageModel, GoldModel, ScriptedModel
from progym.envs.errors import BadValue
from progym.envs.module import Field, Module
from progym.envs.parsing import parse
from progym.envs.rendering import Call

MODULE = Module("answer", "Answer.", (Field("question"),), (Field("reasoning"), Field("answer")))
CALL = Call(MODULE, 0, {"question": "What is left?"})
GOLD = {"reasoning": "It says so.", "answer": "nothing"}


def ask(seed: int = 0, **changes) -> GenerationRequest:
    values: dict[str, Any] = {"call": CALL, "gold": lambda: GOLD, **changes}
    return GenerationRequest(CALL.messages, seed, **values)


def test_a_script_sees_the_call_and_the_seed():
    model = ScriptedModel(lambda call, seed: f"{call.inputs['question']} {seed}")
    assert model.generate([ask(1), ask(2)], Sampling()) == ["What is left? 1", "What is left? 2"]


def test_the_gold_model_writes_what_the_parser_reads():
    [completion] = GoldModel().generate([ask()], Sampling())
    assert parse(MODULE, completion).fields == GOLD
    assert completion.prompt == CALL.messages


def test_garbage_is_unreadable_and_its_seed_decides_it():
    first, again, other = GarbageModel().generate([ask(1), ask(1), ask(2)], Sampling())
    assert first == again != other
    assert parse(MODULE, first).error is not None


def test_words_are_counted_as_tokens():
    [completion] = ScriptedModel(lambda call, seed: "one two three").generate([ask()], Sampling())
    words = sum(len(message["content"].split()) for message in CALL.messages)
    assert completion.usage == (words, 3)


@pytest.mark.parametrize("changes", [{"gold": None}, {"call": None}])
def test_gold_without_an_environment_that_knows_it_raises(changes):
    with pytest.raises(BadValue):
        GoldModel().generate([ask(**changes)], Sampling())


@pytest.mark.parametrize("spec", ["gold", "garbage"])
def test_scripted_bounds_are_loaded_by_name(spec):
    model: LanguageModel = load_model(spec)
    assert model.name == spec
