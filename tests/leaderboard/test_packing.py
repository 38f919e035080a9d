"""What is packed, and what is refused before it is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from bundle_forger import make_run

from progym.benchmarks.suite import Suite
from progym.envs.errors import BadData, BadValue, DataUnavailable, RecordingFailed
from progym.leaderboard.bundle import run_folder
from progym.leaderboard.packing import pack
from progym.leaderboard.verification import verify

CELL = Path("cells/toy/po/seed-1")


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "run")


def test_the_same_run_gives_the_same_bytes(run: Path, golden: Path, tmp_path: Path):
    report = pack(run, tmp_path / "again.zip", entrant="Golden Toys")

    assert (tmp_path / "again.zip").read_bytes() == golden.read_bytes()
    assert (report.runs, report.episodes, report.size) == (12, 96, golden.stat().st_size)


def test_equal_names_of_other_runs_get_other_ids(run: Path, copy: Path, tmp_path: Path):
    record = json.loads((copy / CELL / "cell.json").read_text())
    record["provenance"]["ended"] = "2099-01-31T12:00:00+00:00"
    (copy / CELL / "cell.json").write_text(json.dumps(record))

    reports = [pack(folder, tmp_path / "a.zip", entrant="N" * 80) for folder in (run, copy)]

    one, other = (report.submission_id for report in reports)
    assert one != other
    assert len(one) == len(other) == 64


def test_a_checkout_with_changes_is_noted_as_no_board_takes_it(copy: Path, tmp_path: Path):
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(info | {"commit": "c0ffee+changes"}))

    assert "M15" in pack(copy, tmp_path / "a.zip").notes[0]


def test_a_bundle_that_cannot_be_written_is_one_error(run: Path, tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(RecordingFailed, match="can't be written: File exists"):
        pack(run, tmp_path / "file" / "a.zip")


def test_a_run_with_cells_to_do_is_not_packed(copy: Path, tmp_path: Path):
    (copy / CELL / "cell.json").unlink()

    with pytest.raises(DataUnavailable, match="1 of 12 cells are missing, the first is toy, po"):
        pack(copy, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_a_run_that_the_system_failed_is_not_packed(copy: Path, tmp_path: Path):
    record = json.loads((copy / CELL / "cell.json").read_text())
    record["scores"][0], record["statuses"] = None, {"ok": 7, "fault": 1}
    (copy / CELL / "cell.json").write_text(json.dumps(record))

    with pytest.raises(BadValue, match="failed 1 episodes, the first in toy, po, seed 1"):
        pack(copy, tmp_path / "a.zip")


def test_episodes_that_have_changed_are_not_packed(copy: Path, tmp_path: Path):
    path = copy / CELL / "episodes.jsonl"
    path.write_text(path.read_text().replace("no idea", "an idea").replace("Reply: w", "Reply: v"))

    with pytest.raises(BadData, match="has changed since"):
        pack(copy, tmp_path / "a.zip")


def test_a_name_that_cannot_be_shown_is_not_taken(run: Path, tmp_path: Path):
    with pytest.raises(BadValue, match="a hidden or reordering character"):
        pack(run, tmp_path / "a.zip", entrant="a\u202eb")


def test_a_folder_that_is_no_run_is_named(tmp_path: Path):
    with pytest.raises(DataUnavailable, match=r"holds no benchmark run"):
        pack(tmp_path)


def test_variants_of_a_stage_are_packed_and_verify(suite: Suite, tmp_path: Path):
    settings = {"po@few": {"rollouts": 400}}
    variants = replace(
        suite,
        strategies=("vanilla", "po", "po@few"),
        tasks=tuple(replace(task, stages=settings) for task in suite.tasks),
    )
    run = make_run(tmp_path / "run", variants)

    pack(run, tmp_path / "a.zip", entrant="Golden Toys")
    verification = verify(tmp_path / "a.zip", suites=[variants])

    assert (verification.findings, verification.outcome) == ((), "accepted")
    assert [entry.strategy for entry in verification.entries] == list(variants.strategies)


def test_no_two_strategies_share_a_folder():
    names = ("po", "po@a", "po -> a", "po@a -> b", "po -> a@b", "po@a_b", "po@a -> b@c", "vanilla")

    assert len({run_folder("toy", name, 0) for name in names}) == len(names)
