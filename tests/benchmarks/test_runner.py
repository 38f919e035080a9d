"""Runs: what is on disk at the end, and what kills, crashes and full disks leave behind."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_world import STAGES, toy_suite

from progym.agents.policy import load_policy
from progym.benchmarks.cell_record import CellRecord, read_cell
from progym.benchmarks.cells import Cell, cells_of
from progym.benchmarks.run_folder import open_run
from progym.benchmarks.runner import RunOutcome, next_cell, run_suite
from progym.benchmarks.suite import Evaluation, Suite
from progym.envs.errors import BadData, BadValue, RecordingFailed, UnknownName
from progym.envs.recording import read_episodes

SUITE = toy_suite()


def run(suite: Suite, out: Path, *, resume: bool = False, workers: int = 1) -> RunOutcome:
    return run_suite(suite, out, known=STAGES, resume=resume, workers=workers)


def read(out: Path, suite: Suite = SUITE) -> dict[str, CellRecord]:
    paths = {str(cell): cell.folder(out) / "cell.json" for cell in cells_of(suite)}
    return {name: read_cell(path) for name, path in paths.items() if path.exists()}


def numbers(records: dict[str, CellRecord]) -> dict[str, object]:
    return {name: (r.scores, r.inputs.policy, r.statuses) for name, r in records.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    assert run(SUITE, out, workers=2).exit_code == 0
    return out


def test_every_cell_is_recorded_with_its_episodes(finished: Path):
    records = read(finished)
    assert len(records) == 4
    for cell in cells_of(SUITE):
        record = records[str(cell)]
        episodes = list(read_episodes(cell.folder(finished) / record.episodes.file))
        assert [e.example_id for e in episodes[::2]] == list(record.inputs.examples)
        assert record.score == pytest.approx(sum(e.score or 0 for e in episodes) / 12)
        assert record.evaluation_cost.rollouts == 12


def test_cells_of_the_better_policy_score_higher(finished: Path):
    scores = {record.strategy: record.score for record in read(finished).values()}
    assert scores["vanilla"] == 0
    assert scores["po"] == scores["po -> mmgrpo"] == pytest.approx(0.75, abs=0.1)


def test_stages_in_common_are_computed_once(finished: Path):
    records = {record.strategy: record for record in read(finished).values()}
    po, composed = records["po"], records["po -> mmgrpo"]
    assert composed.stages[0] == po.stages[0]
    assert len(list((finished / "stages").iterdir())) == 3
    runs = (path.read_text() for path in finished.glob("stages/**/runs.txt"))
    assert set(runs) == {"run\n"}
    assert composed.optimization_cost.rollouts == 2 * po.optimization_cost.rollouts


def test_every_cell_names_the_policy_it_evaluated(finished: Path):
    for record in read(finished).values():
        policy = load_policy(finished / record.policy_folder)
        assert policy.model == ("garbage" if record.strategy == "vanilla" else "gold")


def test_resuming_a_finished_run_computes_nothing(finished: Path):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("cell.json")}
    outcome = run(SUITE, finished, resume=True)
    assert (outcome.done, outcome.exit_code) == (4, 0)
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("cell.json")}


def test_a_cell_that_raises_is_recorded_and_the_others_go_on(tmp_path: Path):
    suite = toy_suite("raise")
    outcome = run(suite, tmp_path / "run")
    assert outcome.exit_code == 1
    assert [failure.cell.strategy for failure in outcome.failures] == ["mmgrpo"]
    assert "3 of 4 cells are done" in outcome.message
    assert "1 failed" in outcome.message
    failed = json.loads(
        (outcome.failures[0].cell.folder(tmp_path / "run") / "failed.json").read_text()
    )
    assert failed["reason"] == "ValueError: toys break"
    assert "toy_world.py" in failed["trace"]


def test_after_a_worker_was_killed_resuming_ends_with_the_same_numbers(
    finished: Path, tmp_path: Path
):
    suite, out = toy_suite("die"), tmp_path / "run"
    outcome = run(suite, out)
    assert outcome.exit_code == 1
    assert ["signal 9" in failure.reason for failure in outcome.failures] == [True]
    assert run(suite, out, resume=True).exit_code == 0
    assert numbers(read(out)) == numbers(read(finished))
    assert not list(out.rglob("failed.json"))


def in_a_process(out: Path, misbehaviour: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("toy_run.py")
    command = [sys.executable, str(script), str(out), misbehaviour]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_after_the_parent_was_killed_resuming_ends_with_the_same_numbers(
    finished: Path, tmp_path: Path
):
    out = tmp_path / "run"
    assert in_a_process(out, "kill parent").returncode == -9
    assert (out / "run.lock").exists()
    assert len(read(out)) == 2
    assert run(toy_suite("kill parent"), out, resume=True).exit_code == 0
    assert numbers(read(out)) == numbers(read(finished))


def test_ctrl_c_says_what_is_saved_and_how_to_go_on(tmp_path: Path):
    done = in_a_process(tmp_path / "run", "interrupt")
    assert done.returncode == 130
    assert done.stdout.count("\n") == 1
    assert "2 of 4 cells are done and saved in" in done.stdout
    assert "--resume" in done.stdout
    assert done.stderr == ""


def test_a_full_disk_ends_the_run_and_keeps_what_is_there(tmp_path: Path):
    suite, out = toy_suite("full disk"), tmp_path / "run"
    with pytest.raises(RecordingFailed, match="disk is full"):
        run(suite, out)
    assert len(read(out)) == 2
    assert run(suite, out, resume=True).done == 4


def test_a_cell_with_faults_has_no_score_and_is_evaluated_again(tmp_path: Path):
    suite, out = toy_suite(broken=True), tmp_path / "run"
    outcome = run(suite, out)
    assert outcome.exit_code == 1
    assert [cell.strategy for cell in outcome.faulted] == ["po", "mmgrpo", "po -> mmgrpo"]
    assert "3 had episodes that failed" in outcome.message
    record = read(out, suite)["toy, po, seed 0"]
    assert record.score is None
    assert record.faults == 2
    assert run(suite, out, resume=True).done == 1


def test_torchrun_is_refused_before_anything_is_written(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadValue, match="torchrun is for one stage"):
        run(SUITE, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_a_run_is_refused_without_resume(finished: Path):
    with pytest.raises(BadValue, match="--resume"):
        run(SUITE, finished)


def test_a_folder_with_something_else_is_refused(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(BadValue, match="holds no run"):
        run(SUITE, tmp_path, resume=True)


def test_a_folder_of_another_suite_is_refused(finished: Path):
    with pytest.raises(BadValue, match="belongs to suite 'toys'"):
        run(toy_suite("raise"), finished, resume=True)


def edit_run(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads((folder / "run.json").read_text())
    change(values)
    (folder / "run.json").write_text(json.dumps(values))


def refuse_to_resume(suite: Suite, folder: Path, why: str) -> None:
    with (
        pytest.raises(BadValue, match=why),
        open_run(suite, folder, resume=True, workers=1),
    ):
        pass


def test_a_folder_of_other_versions_is_refused(tmp_path: Path):
    with open_run(SUITE, tmp_path, resume=False, workers=1):
        pass
    edit_run(tmp_path, lambda info: info["versions"].update(numpy="1.0", evaluation="0"))
    refuse_to_resume(SUITE, tmp_path, r"evaluation 0 -> [0-9a-f]{16}, numpy 1\.0 -> ")


def test_a_run_does_not_go_on_with_other_weights_or_other_data(tmp_path: Path):
    model, out = tmp_path / "model", tmp_path / "run"
    model.mkdir()
    (model / "model.safetensors").write_text("one")
    suite = replace(SUITE, model=str(model))
    with open_run(suite, out, resume=False, workers=1) as info:
        assert info.data["toy"].keys() == {"train", "val", "test"}
    (model / "model.safetensors").write_text("two")
    edit_run(out, lambda info: info["data"]["toy"].update(val="other"))
    refuse_to_resume(suite, out, r"the weights of model .* and the data of task 'toy'")


def test_what_a_kill_left_before_run_json_is_not_in_the_way(tmp_path: Path):
    (tmp_path / "run.lock").write_text("1")
    (tmp_path / "run.json.1.tmp").touch()
    with open_run(SUITE, tmp_path, resume=True, workers=1):
        assert (tmp_path / "run.json").is_file()


def test_a_disk_that_takes_no_lock_is_one_error(tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with (
            pytest.raises(RecordingFailed, match=r"run\.lock"),
            open_run(SUITE, tmp_path, resume=False, workers=1),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path):
    (tmp_path / "notes").touch()
    for out in (tmp_path / "notes", tmp_path / "notes" / "run"):
        with pytest.raises(BadValue, match="can't be a run's folder: Not a directory"):
            run(SUITE, out)


@pytest.mark.parametrize("content", ['{"schema": 1, "digest": "x"}', "{}", "[]"])
def test_a_run_json_that_is_not_one_is_named(content: str, tmp_path: Path):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(BadData, match=r"run\.json: not the description of a run"):
        run(SUITE, tmp_path, resume=True)


def test_a_folder_in_use_is_refused_and_a_dead_ones_lock_is_not_in_the_way(tmp_path: Path):
    with open_run(SUITE, tmp_path, resume=False, workers=1):
        with (
            pytest.raises(BadValue, match="in use by process"),
            open_run(SUITE, tmp_path, resume=True, workers=1),
        ):
            pass
        lock = (tmp_path / "run.lock").read_text()
    (tmp_path / "run.lock").write_text(lock)  # of a process that lives, but holds it no more
    with open_run(SUITE, tmp_path, resume=True, workers=1):
        pass


def test_a_resumed_run_keeps_its_threads_whatever_the_workers(tmp_path: Path):
    with open_run(SUITE, tmp_path, resume=False, workers=1) as info:
        threads = info.threads
    with open_run(SUITE, tmp_path, resume=True, workers=64) as info:
        assert info.threads == threads


def test_an_unknown_environment_is_refused_before_anything_is_written(tmp_path: Path):
    task = SUITE.tasks[0]
    wrong = Suite("x", 1, "", "gold", ("vanilla",), (0,), (type(task)("a", "Banking78-v0"),))
    with pytest.raises(UnknownName, match="Did you mean 'Banking77-v0'"):
        run(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("running", "picked"),
    [
        (("toy", "po", 0), "toy, mmgrpo, seed 0"),
        (("toy", "mmgrpo", 0), "toy, po, seed 0"),  # the composed may come down to it
        (("toy", "po -> mmgrpo", 0), "toy, vanilla, seed 1"),
        (("again", "po -> mmgrpo", 0), "toy, vanilla, seed 1"),
    ],
)
def test_no_two_cells_that_may_share_a_stage_run_at_once(running: tuple, picked: str):
    task = SUITE.tasks[0]
    again = replace(task, name="again", evaluation=Evaluation(examples=2))
    suite = replace(SUITE, seeds=(0, 1), tasks=(task, again))
    cells = cells_of(suite)
    pending = [cells[3], cells[2], cells[1], *cells[8:]]  # po -> mmgrpo, mmgrpo, po, seed 1
    assert str(next_cell(suite, pending, [Cell(*running)])) == picked
    assert next_cell(suite, pending[:3], [Cell("toy", "po -> mmgrpo", 0)]) is None
