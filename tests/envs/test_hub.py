"""`data="hub"` reads pinned releases as the importers do, and says what to do without a network."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from progym.envs import sources
from progym.envs.errors import BadData, BadValue, DataUnavailable, MissingExtra
from progym.envs.sources import hub
from progym.envs.sources.hub import FILES, HubFile, load_hub
from progym.envs.sources.importing import import_release

SPLITS = ("train", "val", "test")


@pytest.fixture
def unpinned(monkeypatch: pytest.MonkeyPatch):
    """Let samples of our own stand in for the files whose hashes are pinned."""
    files = {task: tuple(replace(file, sha256="") for file in FILES[task]) for task in FILES}
    monkeypatch.setattr(hub, "FILES", files)


def serve(folder: Path):
    """Stand in for the hub: a file of a release is found by its last name."""

    def fetch(file: HubFile) -> Path:
        return folder / Path(file.name).name

    return fetch


def write_banking77(folder: Path) -> None:
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["activate_my_card", "age_limit"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    for part in ("train", "test"):
        rows = {"text": [f"{part} {i}" for i in range(20)], "label": [i % 2 for i in range(20)]}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(str(folder / f"{part}-00000-of-00001.parquet"))


def write_pupa(folder: Path) -> None:
    columns = ("conversation_hash", "user_query", "target_response", "pii_units", "redacted_query")
    with (folder / "PUPA_New.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(f"c{i}", f"I am Ann {i}.", "NA", f"Ann {i}", "null") for i in range(20)]
        csv.writer(file).writerows([columns, *rows])


def write_hover(folder: Path) -> Path:
    for number, part in enumerate(("train", "dev")):
        claims = [
            {
                "uid": f"{part}{i}",
                "claim": f"Claim {i}.",
                "supporting_facts": [[f"T{i}", 0]],
                "num_hops": 4,
                "hpqa_id": f"h{number * 10 + i}",
            }
            for i in range(20)
        ]
        (folder / f"hover_{part}_release_v1.1.json").write_text(json.dumps(claims), "utf-8")
    (folder / "corpus.jsonl").write_text('{"title": "T1", "text": "x"}\n', "utf-8")
    return folder


def test_every_release_is_pinned():
    for file in (file for files in FILES.values() for file in files):
        assert len(file.revision) == 40
        assert not file.address or file.revision in file.address


def test_labels_are_read_by_name(tmp_path):
    write_banking77(tmp_path)

    data = load_hub("banking77", "test", fetch=serve(tmp_path))

    for example in data.examples:
        number = int(example.inputs["text"].split()[1])
        assert example.gold["label"] == ("age_limit" if number % 2 else "activate_my_card")


@pytest.mark.usefixtures("unpinned")
def test_texts_that_look_like_nothing_stay_texts(tmp_path):
    write_pupa(tmp_path)

    example = load_hub("papillon", "train", fetch=serve(tmp_path)).examples[0]

    assert (example.gold["target_response"], example.gold["redacted_query"]) == ("NA", "null")


@pytest.mark.usefixtures("unpinned")
def test_the_hub_and_an_import_of_the_same_files_give_the_same_splits_and_fingerprints(tmp_path):
    write_pupa(tmp_path)
    import_release("papillon", tmp_path, tmp_path / "out")

    for split in SPLITS:
        ours = sources.load("papillon", tmp_path / "out", split)
        theirs = load_hub("papillon", split, fetch=serve(tmp_path))
        assert ours.examples.ids == theirs.examples.ids
        assert ours.fingerprint == theirs.fingerprint


@pytest.mark.usefixtures("unpinned")
def test_hover_is_drawn_from_both_releases_over_a_corpus_of_the_users(tmp_path):
    folder, fetch = write_hover(tmp_path), serve(tmp_path)

    splits = [load_hub("hover", split, corpus=folder, fetch=fetch) for split in SPLITS]

    ids = [name for data in splits for name in data.examples.ids]
    assert len(set(ids)) == len(ids) == 30
    assert splits[0].corpus is not None
    assert len({data.fingerprint for data in splits}) == 3


def test_hover_without_a_corpus_says_how_to_get_one():
    with pytest.raises(DataUnavailable, match=r"Wikipedia 2017.*progym data import hover"):
        sources.load("hover", "hub", "test")
    with pytest.raises(BadValue, match="no corpus"):
        sources.load("banking77", "hub", "test", corpus="somewhere")


@pytest.mark.usefixtures("unpinned")
def test_a_row_that_no_environment_could_play_is_named(tmp_path):
    write_pupa(tmp_path)
    path = tmp_path / "PUPA_New.csv"
    path.write_text(path.read_text("utf-8").replace("I am Ann 7.", " "), "utf-8")

    with pytest.raises(BadData, match=r"Row 'c7' of the release: inputs: 'user_query' must"):
        load_hub("papillon", "train", fetch=serve(tmp_path))


@pytest.mark.usefixtures("unpinned")
def test_a_corpus_of_the_users_may_lie_in_their_home(tmp_path, monkeypatch):
    write_hover(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(hub, "fetch_file", serve(tmp_path))

    assert sources.load("hover", "hub", "test", corpus="~").corpus is not None


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path):
    write_pupa(tmp_path)

    with pytest.raises(BadData, match="not the pinned release: SHA-256"):
        load_hub("papillon", "train", fetch=serve(tmp_path))


def test_an_unreachable_hub_says_what_to_do():
    def fetch(file: HubFile) -> Path:
        raise ConnectionError("no route to host")

    with pytest.raises(DataUnavailable, match=r"no route to host.*progym data import papillon"):
        load_hub("papillon", "train", fetch=fetch)


def test_offline_nothing_falls_back_to_other_data():
    pytest.importorskip("datasets")

    # The tests' settings keep the hub's client offline.
    with pytest.raises(
        DataUnavailable, match=r"PUPA_New\.csv of Columbia-NLP/PUPA at 9981b49b6ced"
    ):
        sources.load("papillon", "hub", "train")


def test_without_the_package_the_extra_is_named(monkeypatch):
    def find_nothing(name: str) -> Any:
        return None

    monkeypatch.setattr(hub, "find_spec", find_nothing)

    with pytest.raises(MissingExtra, match=r"progym\[train\]"):
        sources.load("banking77", "hub", "train")


def test_nothing_heavy_is_imported_before_it_is_needed():
    script = "import sys, progym.envs.sources; print('datasets' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"
