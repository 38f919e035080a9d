"""A few long-living worker processes, one cell at a time each, and what they tell."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Self

from progym.benchmarks.cells import Cell
from progym.benchmarks.worker import Assignment, Finished, Raised, Step, serve

Event = Step | Finished | Raised
"""What a worker tells of its cell."""


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    cell: Cell | None = None


class WorkerPool:
    """Runs cells in processes of their own; a worker that dies costs its cell and is replaced."""

    def __init__(self, assignment: Assignment, workers: int) -> None:
        self._assignment = assignment
        self._started = 0
        self._workers = [self._start() for _ in range(workers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers: idle ones end by themselves, and what is worth keeping is on disk."""
        for worker in self._workers:
            if worker.cell is not None:
                worker.process.terminate()
                continue
            with suppress(OSError):  # it may have died
                worker.connection.send(None)
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()

    @property
    def running(self) -> list[Cell]:
        """The cells that are being computed."""
        return [worker.cell for worker in self._workers if worker.cell is not None]

    @property
    def has_room(self) -> bool:
        """Whether a worker is idle."""
        return any(worker.cell is None for worker in self._workers)

    def start(self, cell: Cell) -> None:
        """Give a cell to an idle worker."""
        worker = next(worker for worker in self._workers if worker.cell is None)
        if not worker.process.is_alive():  # it died idle, between cells
            worker = self._replace(worker)
        worker.cell = cell
        worker.connection.send(cell)

    def events(self) -> Iterator[tuple[Cell, Event]]:
        """Wait until some running cell has something to tell, and give it."""
        busy = [worker for worker in self._workers if worker.cell is not None]
        handles = [w.connection for w in busy] + [w.process.sentinel for w in busy]
        ready = wait(handles)
        for worker in busy:
            if worker.connection in ready or worker.process.sentinel in ready:
                yield from self._receive(worker)

    def _receive(self, worker: _Worker) -> Iterator[tuple[Cell, Event]]:
        cell = worker.cell
        assert cell is not None
        try:
            while worker.connection.poll():
                event: Event = worker.connection.recv()
                if not isinstance(event, Step):
                    worker.cell = None
                yield cell, event
                if worker.cell is None:
                    return
            if worker.process.is_alive():
                return
        except (EOFError, OSError):  # the pipe broke: the process is gone or going
            worker.process.join()
        self._replace(worker)
        yield cell, Raised(_death(worker.process.exitcode, self._assignment), "", fatal=False)

    def _replace(self, worker: _Worker) -> _Worker:
        worker.connection.close()
        new = self._start()
        self._workers[self._workers.index(worker)] = new
        return new

    def _start(self) -> _Worker:
        self._started += 1
        log = self._assignment.log / f"worker-{self._started}.log"
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(theirs, replace(self._assignment, log=log)), daemon=True
        )
        with _interrupts_ignored():
            process.start()
        theirs.close()
        return _Worker(process, ours)


def _death(exit_code: int | None, assignment: Assignment) -> str:
    if exit_code is not None and exit_code < 0:
        how = f"was killed by signal {-exit_code} ({signal.strsignal(-exit_code)})"
        if exit_code == -signal.SIGKILL:
            how += "; the system does that when memory runs out: try fewer workers"
    else:
        how = f"ended with exit code {exit_code}"
    return f"Its worker {how}. What it wrote is in {assignment.log}."


@contextmanager
def _interrupts_ignored() -> Generator[None]:
    """Have a process started now ignore Ctrl-C, which is for the parent to act on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
