"""A data folder reads as it is documented, and everything else about it is named with its line."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from progym.envs import sources
from progym.envs.errors import BadData, BadValue, DataUnavailable, UnknownName

ROWS: dict[str, dict[str, Any]] = {
    "banking77": {"id": "a", "inputs": {"text": "Hi?"}, "gold": {"label": "card_arrival"}},
    "hover": {"id": "a", "inputs": {"claim": "C."}, "gold": {"titles": ["Ångström"], "hops": 4}},
    "papillon": {
        "id": "a",
        "inputs": {"user_query": "I am Ann."},
        "gold": {"pii_units": ["Ann"], "target_response": "Hi.", "redacted_query": "I am X."},
    },
}


def write(folder: Path, task: str, *rows: Any, **description: Any) -> Path:
    folder.mkdir(exist_ok=True)
    values = {"format": 1, "task": task, **description}
    (folder / "dataset.json").write_text(json.dumps(values), "utf-8")
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "test.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    if task == "hover":
        (folder / "corpus.jsonl").write_text('{"title": "Wet", "text": "Water."}\n', "utf-8")
    return folder


@pytest.mark.parametrize("task", ROWS)
def test_a_folder_reads_as_its_rows(tmp_path, task):
    data = sources.load(task, write(tmp_path, task, ROWS[task]), "test")

    example = data.examples.by_id("a")

    assert (example.inputs, example.gold) == (ROWS[task]["inputs"], ROWS[task]["gold"])
    assert (data.corpus is not None) == (task == "hover")


def test_titles_are_brought_to_one_unicode_form_on_both_sides(tmp_path):
    row = {"id": "a", "inputs": {"claim": "C."}, "gold": {"titles": ["A\u030angstro\u0308m"]}}
    write(tmp_path, "hover", row)
    passage = {"title": "\u212bngstr\u00f6m", "text": "A unit."}
    (tmp_path / "corpus.jsonl").write_text(json.dumps(passage), "utf-8")

    data = sources.load("hover", tmp_path, "test")

    assert data.corpus is not None
    assert data.examples[0].gold["titles"] == ["Ångström"]
    assert [passage.title for passage in data.corpus.passages] == ["Ångström"]


def test_passages_of_one_title_are_merged_without_repeats(tmp_path):
    write(tmp_path, "hover", ROWS["hover"])
    passages = [("Wet", "One."), ("Dry", "Two."), ("Wet", "Three."), (" Wet ", "One.")]
    lines = [json.dumps({"title": title, "text": text}) for title, text in passages]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines), "utf-8")

    corpus = sources.load("hover", tmp_path, "test").corpus

    assert corpus is not None
    assert [(p.title, p.text) for p in corpus.passages] == [("Wet", "One. Three."), ("Dry", "Two.")]


def test_the_fingerprint_follows_the_rows_and_the_corpus(tmp_path):
    def fingerprint(claim: str, text: str) -> str:
        row = {**ROWS["hover"], "inputs": {"claim": claim}}
        write(tmp_path, "hover", row)
        passage = {"title": "Wet", "text": text}
        (tmp_path / "corpus.jsonl").write_text(json.dumps(passage), "utf-8")
        os.utime(tmp_path / "corpus.jsonl", ns=(time.time_ns(), time.time_ns()))
        return sources.load("hover", tmp_path, "test").fingerprint

    prints = [fingerprint("C.", "x"), fingerprint("D.", "x"), fingerprint("D.", "y and more")]

    assert len(set(prints)) == 3


def test_many_environments_share_one_copy(tmp_path):
    write(tmp_path, "hover", ROWS["hover"])
    first = sources.load("hover", tmp_path, "test")

    again = sources.load("hover", str(tmp_path), "test")

    assert again.examples is first.examples
    assert again.corpus is first.corpus


BAD_ROWS = {
    "not JSON": ('{"id": "b", ', r"not JSON \("),
    "not an object": ("[1]", "expected a JSON object"),
    "a repeated key": ('{"id": "b", "id": "c"}', "'id' stands twice"),
    "NaN": ('{"id": "b", "inputs": NaN}', "NaN is not a JSON number"),
    "no gold": ({"id": "b", "inputs": {"text": "x"}}, r"is missing \['gold'\]"),
    "an unknown key": ({**ROWS["banking77"], "label": "x"}, r"unknown keys \['label'\]"),
    "an unknown input": (
        {"id": "b", "inputs": {"text": "x", "txt": "y"}, "gold": {"label": "l"}},
        r"inputs: it has unknown keys \['txt'\]",
    ),
    "inputs that are a text": (
        {"id": "b", "inputs": "x", "gold": {}},
        "inputs: expected an object",
    ),
    "no label": (
        {"id": "b", "inputs": {"text": "x"}, "gold": {}},
        r"gold: it is missing \['label'\]",
    ),
    "a blank text": (
        {"id": "b", "inputs": {"text": " "}, "gold": {"label": "l"}},
        "'text' must be",
    ),
    "a label that is no text": (
        {"id": "b", "inputs": {"text": "x"}, "gold": {"label": 3}},
        "'label'",
    ),
    "an id that is no text": ({**ROWS["banking77"], "id": 3}, "'id' must be a text"),
    "an id that stands twice": (ROWS["banking77"], "id 'a' stands twice"),
}


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_malformed_row_is_named_with_its_line(tmp_path, row, reason):
    write(tmp_path, "banking77", ROWS["banking77"], "", row)

    with pytest.raises(BadData, match=rf"test\.jsonl:3: .*{reason}"):
        sources.load("banking77", tmp_path, "test")


@pytest.mark.parametrize(
    ("task", "gold", "reason"),
    [
        ("hover", {"titles": []}, "at least one text"),
        ("hover", {"titles": ["A", " A"]}, "names a title twice"),
        ("hover", {"titles": "A"}, "must be a list"),
        ("papillon", {**ROWS["papillon"]["gold"], "pii_units": [""]}, "each item must be a text"),
    ],
)
def test_malformed_gold_is_named_with_its_line(tmp_path, task, gold, reason):
    write(tmp_path, task, {**ROWS[task], "gold": gold})

    with pytest.raises(BadData, match=rf"test\.jsonl:1: gold: .*{reason}"):
        sources.load(task, tmp_path, "test")


@pytest.mark.parametrize(
    "line", ['{"title": "A"}', '{"title": "", "text": "x"}', '{"title": 1, "text": "x"}']
)
def test_a_malformed_passage_is_named_with_its_line(tmp_path, line):
    write(tmp_path, "hover", ROWS["hover"])
    (tmp_path / "corpus.jsonl").write_text(f'{{"title": "A", "text": "a"}}\n{line}\n')

    with pytest.raises(BadData, match=r"corpus\.jsonl:2: a passage needs"):
        sources.load("hover", tmp_path, "test")


def test_bytes_that_are_not_utf_8_are_named_with_their_line(tmp_path):
    write(tmp_path, "banking77", ROWS["banking77"])
    (tmp_path / "test.jsonl").write_bytes(json.dumps(ROWS["banking77"]).encode() + b"\n\xff\n")

    with pytest.raises(BadData, match=r"test\.jsonl:2: not UTF-8"):
        sources.load("banking77", tmp_path, "test")


@pytest.mark.parametrize("name", ["dataset.json", "test.jsonl", "corpus.jsonl"])
def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path, name):
    write(tmp_path, "hover", ROWS["hover"])
    (tmp_path / name).unlink()

    with pytest.raises(DataUnavailable, match=rf"{name}.*progym data import hover SOURCE"):
        sources.load("hover", tmp_path, "test")


def test_a_missing_folder_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(DataUnavailable, match=r"no data folder .*none.*progym data import hover"):
        sources.load("hover", tmp_path / "none", "test")


def test_an_empty_split_is_named(tmp_path):
    with pytest.raises(BadData, match=r"test\.jsonl: a split needs at least one row"):
        sources.load("banking77", write(tmp_path, "banking77"), "test")


def test_data_of_another_task_is_refused(tmp_path):
    write(tmp_path, "banking77", ROWS["banking77"])

    with pytest.raises(BadData, match="holds data for 'banking77', not for 'hover'"):
        sources.load("hover", tmp_path, "test")


def test_another_format_is_refused(tmp_path):
    write(tmp_path, "banking77", ROWS["banking77"], format=2)

    with pytest.raises(BadData, match="'format' is 2, this version reads 1"):
        sources.load("banking77", tmp_path, "test")


def test_a_file_with_fewer_rows_than_were_imported_is_refused(tmp_path):
    write(tmp_path, "banking77", ROWS["banking77"], splits={"test": 2})

    with pytest.raises(BadData, match=r"1 rows, but dataset\.json says 2"):
        sources.load("banking77", tmp_path, "test")


def test_wrong_names_are_answered_with_the_nearest(tmp_path):
    write(tmp_path, "banking77", ROWS["banking77"])

    with pytest.raises(UnknownName, match="Did you mean 'banking77'"):
        sources.load("banking", tmp_path, "test")
    with pytest.raises(UnknownName, match="Did you mean 'test'"):
        sources.load("banking77", tmp_path, "tets")


def test_a_corpus_goes_with_the_hub_only(tmp_path):
    with pytest.raises(BadValue, match="hub"):
        sources.load("hover", write(tmp_path, "hover", ROWS["hover"]), "test", corpus=tmp_path)
