"""Prompt sets go through JSON unchanged, and a file that holds none is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progym.agents.model import Sampling
from progym.agents.models.scripted import GoldModel
from progym.agents.rollouts import requests_for, roll_out
from progym.envs.errors import BadData, DataUnavailable, UnknownName
from progym.envs.prompts import Demo, ModulePrompt, PromptSet, load_prompts, save_prompts
from progym.envs.replay import replay

# Half surrogate pairs too; two halves side by side are one character, in JSON and here.
texts = st.text(st.characters()).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
inputs = texts | st.lists(texts, max_size=3).map(tuple)
demos = st.builds(
    Demo,
    st.dictionaries(texts, inputs, max_size=2),
    st.dictionaries(texts, texts, max_size=2),
)
prompt_sets = st.builds(
    PromptSet,
    st.dictionaries(
        texts, st.builds(ModulePrompt, texts, st.lists(demos, max_size=2).map(tuple)), max_size=3
    ),
)


@given(prompt_sets)
def test_a_set_reads_back_from_its_json(prompts):
    again = PromptSet.from_json(prompts.to_json())

    assert again == prompts
    assert again.digest == prompts.digest


def test_a_set_reads_back_from_its_file(tmp_path):
    prompts = PromptSet(
        {"answer": ModulePrompt("Söz ver.", (Demo({"a": ("1", "2")}, {"b": "3"}),))}
    )

    save_prompts(prompts, tmp_path / "prompts.json")

    assert load_prompts(tmp_path / "prompts.json") == prompts


@given(prompts=prompt_sets)
def test_a_set_of_any_texts_reads_back_from_its_file(tmp_path_factory, prompts):
    path = tmp_path_factory.getbasetemp() / "prompts.json"

    save_prompts(prompts, path)

    assert load_prompts(path) == prompts


def test_a_set_that_can_not_be_saved_leaves_the_last_one_as_it_was(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    path = tmp_path / "prompts.json"
    prompts = PromptSet({"m": ModulePrompt("one")})
    save_prompts(prompts, path)
    monkeypatch.setattr(Path, "replace", fail)

    with pytest.raises(OSError, match="No space"):
        save_prompts(PromptSet(), path)

    assert load_prompts(path) == prompts


def test_another_instruction_or_order_of_demos_is_another_digest():
    one, two = Demo({"a": "1"}, {"b": "1"}), Demo({"a": "2"}, {"b": "2"})
    sets = [
        PromptSet({"m": ModulePrompt("i", (one, two))}),
        PromptSet({"m": ModulePrompt("i", (two, one))}),
        PromptSet({"m": ModulePrompt("j", (one, two))}),
    ]

    assert len({prompts.digest for prompts in sets}) == 3


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"m": {"demos": []}}',
        '{"m": {"instruction": 3}}',
        '{"m": {"instruction": "i", "demos": [{"inputs": {"a": 1}, "outputs": {}}]}}',
        '{"m": {"instruction": "i", "demos": [{"inputs": {}}]}}',
        '{"m": {"instruction": "i", "demo": []}}',
        '{"m": {"instruction": "i", "demos": [{"inputs": {}, "outputs": {}, "score": 1}]}}',
        '{"m": {"instruction": "i"}, "m": {"instruction": "j"}}',
    ],
)
def test_a_file_that_is_no_prompt_set_is_named(tmp_path, text):
    path = tmp_path / "prompts.json"
    path.write_text(text)

    with pytest.raises(BadData, match=r"prompts\.json"):
        load_prompts(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataUnavailable, match=r"none\.json can't be read"):
        load_prompts(tmp_path / "none.json")


GOOD = Demo({"question": "q", "notes": ("n",)}, {"verdict": "no"})
MISFITS = {
    "a module that is none of the program's": (
        "anwser",
        GOOD,
        UnknownName,
        "Did you mean 'answer'",
    ),
    "a demo without an input": (
        "answer",
        Demo({"question": "q"}, {"verdict": "no"}),
        BadData,
        r"Demo 1 of module 'answer' has the inputs \['question'\]",
    ),
    "a demo with an output that is none of the module's": (
        "answer",
        Demo(GOOD.inputs, {"verdcit": "no"}),
        BadData,
        r"may have the outputs \['reasoning', 'verdict'\]",
    ),
}


def test_a_set_fits_a_program_whose_modules_it_knows_in_part(toy):
    PromptSet({"answer": ModulePrompt("Be brief.", (GOOD,))}).check(toy.program.modules)


@pytest.mark.parametrize(("name", "demo", "error", "what"), MISFITS.values(), ids=MISFITS.keys())
def test_a_set_that_does_not_fit_the_program_is_refused_before_the_first_call(
    toy, name, demo, error, what
):
    prompts = PromptSet({name: ModulePrompt("Be brief.", (demo,))})

    with pytest.raises(error, match=what):
        prompts.check(toy.program.modules)
    with pytest.raises(error, match=what):
        replay(toy.play(toy.make()), toy.make(), prompts=prompts)
    requests = requests_for(["q0"], repeats=1, seed=0)
    with pytest.raises(error, match=what):
        roll_out(toy.make, GoldModel(), prompts, requests, sampling=Sampling())
