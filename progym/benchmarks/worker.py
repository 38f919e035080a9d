"""A worker process: computes one cell after another, and tells its parent how it gets on.

This file imports nothing heavy at its top: the number of threads must be set before torch loads.
"""

from __future__ import annotations

import errno
import faulthandler
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread

from progym.agents.identity import changed_versions
from progym.agents.strategy import StageEntry
from progym.benchmarks.cells import Cell
from progym.benchmarks.provenance import run_versions
from progym.benchmarks.suite import Suite
from progym.envs.errors import BadValue, ProgymError, RecordingFailed

_STEP_SECONDS = 0.1


@dataclass(frozen=True)
class Assignment:
    """What a worker needs once: the suite, where to write, and what the run began with."""

    suite: Suite
    run: Path
    threads: int
    versions: Mapping[str, str]
    log: Path
    known: Mapping[str, StageEntry]


@dataclass(frozen=True)
class Step:
    """The running cell got on: what it does, how much of it is done."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Finished:
    """The cell is on disk."""

    score: float | None


@dataclass(frozen=True)
class Raised:
    """The cell raised; `fatal` if no other cell can do better (nothing can be written)."""

    reason: str
    trace: str
    fatal: bool


def serve(connection: Connection, assignment: Assignment) -> None:
    """Compute the cells that arrive until None does; the process's entry point."""
    _write_output_to(assignment.log)
    Thread(target=_die_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(assignment.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from progym.benchmarks.evaluation import run_cell

    reporter = _Reporter(connection)
    while True:
        cell: Cell | None = connection.recv()
        if cell is None:
            return
        try:
            _check_versions(assignment)
            record = run_cell(
                assignment.suite,
                cell,
                assignment.run,
                report=reporter.report,
                known=assignment.known,
            )
        except Exception as error:  # the boundary of a cell: the others go on
            connection.send(Raised(_reason(error), traceback.format_exc(), _is_fatal(error)))
            with suppress(OSError):  # the log may be on the disk that is full
                traceback.print_exc()
        else:
            connection.send(Finished(record.score))


class _Reporter:
    """Sends steps on, but not more often than anyone can read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last = 0.0
        self._what = ""

    def report(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what or done == total or now - self._last > _STEP_SECONDS:
            self._what, self._last = what, now
            self._connection.send(Step(what, done, total))


def _check_versions(assignment: Assignment) -> None:
    """Refuse to compute with other code than the run began with; a worker may start late."""
    changed = changed_versions(assignment.versions, run_versions())
    if changed:
        raise BadValue(
            f"The code has changed since the run began ({changed}). Results of different "
            "versions don't share a table: go back, or begin a new run."
        )


def _write_output_to(log: Path) -> None:
    """Send all output to a file, that of C libraries included: the terminal is the parent's."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable(sys.stderr)


def _die_with_parent() -> None:
    """End at once when the parent is gone, so that two processes never write one folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ProgymError) else f"{type(error).__name__}: {error}"


def _is_fatal(error: Exception) -> bool:
    """Whether the disk is full or refuses writing; safetensors tells it by text only."""
    if isinstance(error, RecordingFailed) or "No space left on device" in str(error):
        return True
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
