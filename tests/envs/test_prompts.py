"""Prompt sets go through JSON unchanged, and a file that holds none is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progym.envs.errors import BadData
from progym.envs.prompts import Demo, ModulePrompt, PromptSet, load_prompts, save_prompts

texts = st.text(st.characters(exclude_categories=["Cs"]))
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
    ],
)
def test_a_file_that_is_no_prompt_set_is_named(tmp_path, text):
    path = tmp_path / "prompts.json"
    path.write_text(text)

    with pytest.raises(BadData, match=r"prompts\.json"):
        load_prompts(path)
