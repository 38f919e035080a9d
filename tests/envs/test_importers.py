"""The public releases become data folders: seeded, disjoint, all or nothing."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from progym.envs import sources
from progym.envs.errors import BadData, BadValue, DataUnavailable, RecordingFailed, UnknownName
from progym.envs.sources.importing import import_release, read_uids
from progym.envs.sources.splitting import PAPER_SIZES

SMALL = {"train": 3, "val": 2, "test": 4}


def write_csv(path: Path, *rows: tuple[str, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_banking77(folder: Path, rows: int = 12) -> Path:
    for part in ("train", "test"):
        texts = [(f"{part} question {i},\nwith a line", f"label_{i % 3}") for i in range(rows)]
        write_csv(folder / f"{part}.csv", ("text", "category"), *texts)
    return folder


def claim(number: int, hops: int = 4, question: int | None = None) -> dict[str, Any]:
    return {
        "uid": f"u{number}",
        "claim": f"Claim {number}.",
        "supporting_facts": [[f"T{number}", 0], [f"T{number}", 1], ["Cafe\u0301", 2]],
        "label": "SUPPORTED",
        "num_hops": hops,
        "hpqa_id": f"h{number if question is None else question}",
    }


def write_hover(folder: Path, claims: list[dict[str, Any]], titles: int = 99) -> Path:
    (folder / "hover_dev_release_v1.1.json").write_text(json.dumps(claims), "utf-8")
    passages: list[Any] = [{"title": f"T{i}", "text": f"Text {i}."} for i in range(titles)]
    passages.append({"title": "Caf\u00e9", "text": ["One. ", "Two."], "source": "elsewhere"})
    with gzip.open(folder / "passages.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(passage) + "\n" for passage in passages)
    return folder


PUPA_COLUMNS = (
    *("conversation_hash", "predicted_category", "user_query"),
    *("target_response", "pii_units", "redacted_query"),
)


def write_pupa(folder: Path, rows: int = 12) -> Path:
    lines = [
        (f"c{i}", "x", f"I am Ann {i}.", "Hi.", f"Ann {i}|| ||Bo||Bo", "I am X.")
        for i in range(rows)
    ]
    write_csv(folder / "PUPA_New.csv", PUPA_COLUMNS, *lines)
    return folder


def ids(folder: Path, task: str) -> dict[str, tuple[str, ...]]:
    return {split: sources.load(task, folder, split).examples.ids for split in SMALL}


def test_banking77_reads_from_its_two_files(tmp_path):
    report = import_release("banking77", write_banking77(tmp_path), tmp_path / "out", sizes=SMALL)

    splits = ids(tmp_path / "out", "banking77")
    example = sources.load("banking77", tmp_path / "out", "test").examples[0]

    assert report.sizes == {name: len(rows) for name, rows in splits.items()} == SMALL
    assert {name[:5] for name in splits["train"] + splits["val"]} == {"train"}
    assert not set(splits["train"]) & set(splits["val"])
    number = int(example.id.removeprefix("test-"))
    assert example.inputs["text"] == f"test question {number},\nwith a line"
    assert example.gold == {"label": f"label_{number % 3}"}


def test_texts_that_repeat_or_stand_in_test_are_left_out_of_train(tmp_path):
    write_csv(tmp_path / "test.csv", ("text", "category"), ("In test?", "a"), ("in  TEST?", "b"))
    train = [("In Test?", "a"), ("Twice.", "a"), ("twice.", "a"), ("Once.", "b"), (" ", "b")]
    write_csv(tmp_path / "train.csv", ("text", "category"), *train)

    report = import_release("banking77", tmp_path, tmp_path / "out", sizes="all")

    assert dict(report.sizes) == {"train": 1, "val": 1, "test": 1}
    assert "drew {'train': 1, 'val': 1}" in report.notes[0]


def test_pupa_units_are_split_on_two_bars_and_one_row_stays_of_a_conversation(tmp_path):
    write_pupa(tmp_path)
    row = ("c0", "x", "Something else.", "Hi.", "Cy", "X.")
    with (tmp_path / "PUPA_New.csv").open("a", newline="") as file:
        csv.writer(file).writerow(row)

    report = import_release("papillon", tmp_path, tmp_path / "out", sizes="all")

    examples = [
        example
        for split in SMALL
        for example in sources.load("papillon", tmp_path / "out", split).examples
    ]
    first = next(example for example in examples if example.id == "c0")
    assert sum(report.sizes.values()) == len({example.id for example in examples}) == 12
    assert first.gold["pii_units"] == ["Ann 0", "Bo"]
    assert first.inputs["user_query"] == "I am Ann 0."


def test_hover_takes_claims_of_the_wanted_hops_once_a_question(tmp_path):
    claims = [*(claim(i) for i in range(12)), claim(20, hops=3), claim(21, question=0)]
    write_hover(tmp_path, claims)

    corpus = tmp_path / "passages.jsonl.gz"
    report = import_release("hover", tmp_path, tmp_path / "out", sizes="all", corpus=corpus)

    splits = ids(tmp_path / "out", "hover")
    data = sources.load("hover", tmp_path / "out", "test")
    assert sorted(sum(splits.values(), ())) == sorted(f"u{i}" for i in range(12))
    assert data.examples[0].gold == {"titles": [f"T{data.examples.ids[0][1:]}", "Café"], "hops": 4}
    assert data.corpus is not None
    assert data.corpus.show(["Café"]) == ("Café | One. Two.",)
    assert report.passages == 100


def test_hops_and_uids_choose_claims(tmp_path):
    write_hover(tmp_path, [claim(i, hops=2 + i % 3) for i in range(30)])
    uids = tmp_path / "uids.json"
    uids.write_text(json.dumps([f"u{i}" for i in range(15)]))

    report = import_release(
        "hover",
        tmp_path,
        tmp_path / "out",
        sizes="all",
        corpus=tmp_path / "passages.jsonl.gz",
        only_uids=read_uids(uids),
        hops={2, 3},
    )

    assert sum(report.sizes.values()) == 10


def test_claims_whose_titles_are_not_in_the_corpus_are_counted_not_hidden(tmp_path):
    write_hover(tmp_path, [claim(i) for i in range(12)], titles=9)

    report = import_release(
        "hover", tmp_path, tmp_path / "out", sizes=SMALL, corpus=tmp_path / "passages.jsonl.gz"
    )

    assert "have a gold title that is not in the corpus" in report.notes[-1]
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["notes"] == list(
        report.notes
    )


def test_the_seed_decides_the_splits_and_the_order_of_the_release_does_not(tmp_path):
    def draw(name: str, claims: list[dict[str, Any]], seed: int) -> dict[str, tuple[str, ...]]:
        write_hover(tmp_path, claims)
        corpus, out = tmp_path / "passages.jsonl.gz", tmp_path / name
        import_release("hover", tmp_path, out, seed=seed, sizes=SMALL, corpus=corpus)
        return ids(out, "hover")

    claims = [claim(i) for i in range(30)]

    assert draw("a", claims, 0) == draw("b", claims[::-1], 0) != draw("c", claims, 1)


def test_test_stays_the_same_whatever_the_other_sizes_are(tmp_path):
    write_pupa(tmp_path, 30)
    import_release("papillon", tmp_path, tmp_path / "a", sizes=SMALL)
    import_release("papillon", tmp_path, tmp_path / "b", sizes={**SMALL, "train": 9, "val": 9})

    assert ids(tmp_path / "a", "papillon")["test"] == ids(tmp_path / "b", "papillon")["test"]


def test_the_papers_sizes_are_the_default(tmp_path):
    report = import_release("banking77", write_banking77(tmp_path, 600), tmp_path / "out")

    assert dict(report.sizes) == PAPER_SIZES["banking77"] == {"train": 250, "val": 250, "test": 500}


def test_a_release_that_is_too_small_is_shared_out_and_a_note_says_so(tmp_path):
    report = import_release("papillon", write_pupa(tmp_path, 43), tmp_path / "out")

    assert dict(report.sizes) == {"train": 12, "val": 9, "test": 22}
    assert "need more than 43 examples" in report.notes[0]


@pytest.mark.parametrize(
    ("sizes", "error", "reason"),
    [
        ({"train": 99}, BadValue, "needs .* examples, the release holds 12"),
        ({"train": 0}, BadValue, "at least one example"),
        ({"tran": 1}, UnknownName, "Did you mean 'train'"),
        ("papr", UnknownName, "Did you mean 'paper'"),
    ],
)
def test_sizes_that_can_not_be_had_are_refused(tmp_path, sizes, error, reason):
    with pytest.raises(error, match=reason):
        import_release("papillon", write_pupa(tmp_path), tmp_path / "out", sizes=sizes)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_not_written_over(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")

    with pytest.raises(BadValue, match="exists already"):
        import_release("banking77", write_banking77(tmp_path), tmp_path / "out", sizes=SMALL)


def test_an_import_that_fails_while_writing_leaves_nothing(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    write_banking77(source)

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)

    with pytest.raises(RecordingFailed, match="No space left"):
        import_release("banking77", source, target / "out", sizes=SMALL)
    assert list(target.iterdir()) == []


def test_files_that_are_not_the_release_are_named(tmp_path):
    with pytest.raises(DataUnavailable, match=r"train\.csv can't be read"):
        import_release("banking77", tmp_path, tmp_path / "out")
    with pytest.raises(DataUnavailable, match=r"PUPA_New\.csv can't be read"):
        import_release("papillon", tmp_path, tmp_path / "out")
    with pytest.raises(DataUnavailable, match=r"holds neither of hover_train_release"):
        import_release("hover", tmp_path, tmp_path / "out")
    with pytest.raises(DataUnavailable, match="is no folder"):
        import_release("papillon", tmp_path / "none", tmp_path / "out")
    with pytest.raises(UnknownName, match="Did you mean 'papillon'"):
        import_release("papilon", tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("text,kind\nHi,x\n", r"train\.csv:1: no column category; found \['text', 'kind'\]"),
        ("text,category\nHi\n", r"train\.csv:2: a row must have 2 cells"),
        ("text,category\nHi,x\nHi,x,y\n", r"train\.csv:3: a row must have 2 cells"),
        ('text,category\nHi,"x" y\n', r"train\.csv:2: not CSV"),
        ("", r"train\.csv:1: no column text, category"),
    ],
)
def test_a_malformed_csv_is_named_with_its_line(tmp_path, text, reason):
    write_banking77(tmp_path)
    (tmp_path / "train.csv").write_text(text)

    with pytest.raises(BadData, match=reason):
        import_release("banking77", tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    "change",
    [
        {"supporting_facts": []},
        {"supporting_facts": [["A", 0], "B"]},
        {"claim": ""},
        {"uid": None},
    ],
)
def test_a_malformed_claim_is_named_with_its_position(tmp_path, change):
    write_hover(tmp_path, [claim(0), {**claim(1), **change}])

    with pytest.raises(BadData, match=r"hover_dev_release_v1\.1\.json: record 2: "):
        import_release("hover", tmp_path, tmp_path / "out", corpus=tmp_path / "passages.jsonl.gz")


def test_a_row_that_no_environment_could_play_is_named_and_nothing_written(tmp_path):
    rows = [(f"c{i}", "x", "Q.", "Hi.", "Ann", "X." if i != 3 else " ") for i in range(12)]
    write_csv(tmp_path / "PUPA_New.csv", PUPA_COLUMNS, *rows)
    for part in ("train", "test"):
        texts = [(f"{part} question {i}", "a" * (i > 0)) for i in range(12)]
        write_csv(tmp_path / f"{part}.csv", ("text", "category"), *texts)
    write_hover(tmp_path, [{**claim(i), "claim": " " if i == 5 else "C."} for i in range(12)])
    corpus = tmp_path / "passages.jsonl.gz"

    with pytest.raises(BadData, match=r"Row 'c3' of the release: gold: 'redacted_query' must"):
        import_release("papillon", tmp_path, tmp_path / "out", sizes="all")
    with pytest.raises(BadData, match=r"Row '\w+-00000' of the release: gold: 'label' must"):
        import_release("banking77", tmp_path, tmp_path / "out", sizes="all")
    with pytest.raises(BadData, match=r"Row 'u5' of the release: inputs: 'claim' must"):
        import_release("hover", tmp_path, tmp_path / "out", sizes="all", corpus=corpus)
    assert not (tmp_path / "out").exists()


def test_hover_without_passages_says_which_option_gives_them(tmp_path):
    with pytest.raises(BadValue, match="--corpus"):
        import_release("hover", write_hover(tmp_path, [claim(0)]), tmp_path / "out")


def test_passages_that_can_not_be_read_are_named(tmp_path):
    write_hover(tmp_path, [claim(i) for i in range(12)])
    (tmp_path / "cut.jsonl.gz").write_bytes((tmp_path / "passages.jsonl.gz").read_bytes()[:60])
    whole = (tmp_path / "passages.jsonl.gz").read_bytes()
    (tmp_path / "damaged.jsonl.gz").write_bytes(whole[:40] + b"\xff" * 40 + whole[80:])
    (tmp_path / "bad.jsonl").write_text('{"title": "A", "text": "a"}\n{"title": "B"}\n')

    with pytest.raises(DataUnavailable, match=r"cut\.jsonl\.gz can't be read"):
        import_release("hover", tmp_path, tmp_path / "out", corpus=tmp_path / "cut.jsonl.gz")
    with pytest.raises(DataUnavailable, match=r"damaged\.jsonl\.gz can't be read"):
        import_release("hover", tmp_path, tmp_path / "out", corpus=tmp_path / "damaged.jsonl.gz")
    with pytest.raises(BadData, match=r"bad\.jsonl:2: a passage needs"):
        import_release("hover", tmp_path, tmp_path / "out", corpus=tmp_path / "bad.jsonl")


@pytest.mark.parametrize("text", ["{}", "[1]", "uids"])
def test_a_file_that_is_no_list_of_uids_is_named(tmp_path, text):
    (tmp_path / "uids.json").write_text(text)

    with pytest.raises(BadData, match=r"uids\.json: expected a JSON array of uids"):
        read_uids(tmp_path / "uids.json")


def test_uids_for_a_task_without_claims_are_refused(tmp_path):
    with pytest.raises(BadValue, match="HoVer's claims"):
        import_release(
            "papillon", write_pupa(tmp_path), tmp_path / "out", only_uids=frozenset({"u1"})
        )
