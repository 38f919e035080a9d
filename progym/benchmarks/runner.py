"""Runs a suite: cells in worker processes, state on disk only, so that a killed run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import gymnasium

from progym.agents.processes import launched_processes
from progym.agents.storage import write_json
from progym.agents.strategy import STAGES, StageEntry
from progym.benchmarks.cell_record import read_cell
from progym.benchmarks.cells import Cell, cells_of
from progym.benchmarks.pool import WorkerPool
from progym.benchmarks.progress import RunWatcher, Silent
from progym.benchmarks.run_folder import open_run
from progym.benchmarks.suite import Suite
from progym.benchmarks.worker import Assignment, Finished, Raised, Step
from progym.envs.catalog import IDS
from progym.envs.errors import BadValue, RecordingFailed, unknown


@dataclass(frozen=True)
class Failure:
    """A cell that raised or whose worker died."""

    cell: Cell
    reason: str


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    run: Path
    done: int
    """Cells on disk with a score."""
    total: int
    failures: tuple[Failure, ...] = ()
    faulted: tuple[Cell, ...] = ()
    """Cells in which the system failed some episodes, hence without a score."""
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 if every cell has a score, 130 after Ctrl-C, else 1."""
        if self.interrupted:
            return 130
        return 0 if self.done == self.total else 1

    @property
    def message(self) -> str:
        """Say in one line how it ended and, if not well, what to do."""
        if self.exit_code == 0:
            return f"All {self.total} cells are done: {self.run}"
        state = f"{self.done} of {self.total} cells are done and saved in {self.run}"
        again = "run the same command with --resume to go on"
        if self.interrupted:
            return f"Stopped. {state}, with all finished stages; {again}."
        troubles = [f"{len(self.failures)} failed"] if self.failures else []
        troubles += [f"{len(self.faulted)} had episodes that failed"] if self.faulted else []
        return f"{state}; {' and '.join(troubles)}. Mend the cause, then {again}."


def run_suite(
    suite: Suite,
    out: Path,
    *,
    resume: bool = False,
    workers: int = 2,
    watcher: RunWatcher | None = None,
    known: Mapping[str, StageEntry] = STAGES,
) -> RunOutcome:
    """Compute a suite's cells into `out` and tell how that ended.

    Runs in processes started by spawn: call it from a program with a `__main__` guard. Raises
    BadValue for a folder that is in use or belongs to another run, and within torchrun; and
    RecordingFailed if the disk is full; what was written stays valid and `resume` goes on from it.

    Args:
        suite: What to run.
        out: The run's folder, empty or new unless `resume`.
        resume: Go on with the run in `out`; cells and stages that are finished are kept.
        workers: Processes, one cell at a time each.
        watcher: Told of progress.
        known: The stages that strategies may be made of.
    """
    if (launched := launched_processes()) > 1:
        raise BadValue(
            f"A launcher started {launched} processes, and a benchmark starts its own. Run it "
            f"alone, with workers={launched}; torchrun is for one stage (progym optimize)."
        )
    if workers < 1:
        raise BadValue(f"workers must be 1 or more, got {workers}.")
    check_suite(suite, known)
    with open_run(suite, out, resume=resume, workers=workers) as info:
        watcher = watcher or Silent()
        cells = cells_of(suite)
        pending = [cell for cell in cells if not _is_done(cell, out)]
        count = max(1, min(workers, len(pending)))
        watcher.begin(pending, len(cells) - len(pending), count)
        work = _Work(suite, out, pending, watcher)
        if pending:
            logs = out / "logs"
            assignment = Assignment(suite, out, info.threads, info.versions, logs, known)
            with WorkerPool(assignment, count) as pool:
                work.run(pool)
        return RunOutcome(
            run=out,
            done=len(cells) - len(pending) + work.done,
            total=len(cells),
            failures=tuple(work.failures),
            faulted=tuple(work.faulted),
            interrupted=work.interrupted,
        )


def check_suite(suite: Suite, known: Mapping[str, StageEntry] = STAGES) -> None:
    """Look up every environment and plan every cell, to fail early."""
    for task in suite.tasks:
        if ":" not in task.env and task.env not in gymnasium.registry:
            raise unknown("environment", task.env, IDS)
        for strategy in suite.strategies:
            suite.plan(task, strategy, known)


def next_cell(suite: Suite, pending: Sequence[Cell], running: Sequence[Cell]) -> Cell | None:
    """Pick the first cell that shares no stage with those that run; None if each does."""
    taken = frozenset[str]().union(*(cell.stages(suite) for cell in running))
    return next((cell for cell in pending if not cell.stages(suite) & taken), None)


class _Work:
    """The cells still to do, and what became of those that were done."""

    def __init__(self, suite: Suite, out: Path, pending: list[Cell], watcher: RunWatcher) -> None:
        self.done = 0
        self.failures: list[Failure] = []
        self.faulted: list[Cell] = []
        self.interrupted = False
        self._suite, self._out, self._watcher = suite, out, watcher
        self._pending = list(pending)

    def run(self, pool: WorkerPool) -> None:
        """Keep the workers busy until no cell is left, or until Ctrl-C."""
        try:
            while self._pending or pool.running:
                self._assign(pool)
                for cell, event in pool.events():
                    self._note(cell, event)
        except KeyboardInterrupt:
            self.interrupted = True

    def _assign(self, pool: WorkerPool) -> None:
        while pool.has_room:
            cell = next_cell(self._suite, self._pending, pool.running)
            if cell is None:
                return
            self._pending.remove(cell)
            (cell.folder(self._out) / "failed.json").unlink(missing_ok=True)
            pool.start(cell)
            self._watcher.started(cell)

    def _note(self, cell: Cell, event: Step | Finished | Raised) -> None:
        match event:
            case Step(what, done, total):
                self._watcher.step(cell, what, done, total)
            case Finished(score):
                if score is None:
                    self.faulted.append(cell)
                else:
                    self.done += 1
                self._watcher.finished(cell, score)
            case Raised(reason, trace, fatal):
                if fatal:
                    raise RecordingFailed(f"{cell}: {reason}")
                self.failures.append(Failure(cell, reason))
                at = datetime.now(UTC).isoformat(timespec="seconds")
                values = {"cell": str(cell), "reason": reason, "trace": trace, "at": at}
                write_json(cell.folder(self._out) / "failed.json", values)
                self._watcher.failed(cell, reason)


def _is_done(cell: Cell, out: Path) -> bool:
    path = cell.folder(out) / "cell.json"
    return path.is_file() and read_cell(path).score is not None
