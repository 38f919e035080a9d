"""What a run tells of itself while it runs, and a live display of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from progym.benchmarks.cells import Cell


class RunWatcher(Protocol):
    """Told what happens in a run, from one thread, in order."""

    def begin(self, pending: Sequence[Cell], done: int, workers: int) -> None:
        """These cells are to be done, so many others were done before."""
        ...

    def started(self, cell: Cell) -> None:
        """A worker took a cell."""
        ...

    def step(self, cell: Cell, what: str, done: int, total: int) -> None:
        """A running cell got on."""
        ...

    def finished(self, cell: Cell, score: float | None) -> None:
        """A cell is done; None says that episodes of it ended in faults."""
        ...

    def failed(self, cell: Cell, reason: str) -> None:
        """A cell raised, or its worker died."""
        ...


class Silent:
    """Watches and says nothing."""

    def begin(self, pending: Sequence[Cell], done: int, workers: int) -> None:
        """Say nothing."""

    def started(self, cell: Cell) -> None:
        """Say nothing."""

    def step(self, cell: Cell, what: str, done: int, total: int) -> None:
        """Say nothing."""

    def finished(self, cell: Cell, score: float | None) -> None:
        """Say nothing."""

    def failed(self, cell: Cell, reason: str) -> None:
        """Say nothing."""


@dataclass
class _Running:
    since: float
    what: str = "starting"
    done: int = 0
    total: int = 0


@dataclass
class _Pace:
    """How long cells took, to say how long the rest will take."""

    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def add(self, strategy: str, seconds: float) -> None:
        self.seconds.setdefault(strategy, []).append(seconds)

    def expect(self, strategy: str) -> float:
        """Mean of the strategy's cells so far, of all cells if it has none yet."""
        known = self.seconds.get(strategy) or [s for some in self.seconds.values() for s in some]
        return sum(known) / len(known)


class LiveProgress:
    """A live display for the terminal, a line per event where the output is not one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._waiting: list[Cell] = []
        self._running: dict[Cell, _Running] = {}
        self._pace = _Pace()
        self._cells, self._done, self._failures, self._workers = 0, 0, 0, 1
        self._began = time.monotonic()
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def begin(self, pending: Sequence[Cell], done: int, workers: int) -> None:
        """Note the size of the run."""
        self._waiting = list(pending)
        self._cells, self._done, self._workers = len(pending) + done, done, workers
        before = f", {done} of them done before" if done else ""
        self._console.print(f"{self._cells} cells{before}; {workers} at a time.", highlight=False)

    def started(self, cell: Cell) -> None:
        """Show a cell as running."""
        self._waiting.remove(cell)
        self._running[cell] = _Running(time.monotonic())

    def step(self, cell: Cell, what: str, done: int, total: int) -> None:
        """Update a running cell's bar."""
        running = self._running[cell]
        running.what, running.done, running.total = what, done, total

    def finished(self, cell: Cell, score: float | None) -> None:
        """Print the cell's score."""
        seconds = self._end(cell)
        self._pace.add(cell.strategy, seconds)
        result = "episodes failed, no score" if score is None else f"score {score:.3f}"
        self._line(f"{cell}: {result} ({clock(seconds)})", "" if score is not None else "yellow")

    def failed(self, cell: Cell, reason: str) -> None:
        """Print why the cell failed."""
        self._failures += 1
        self._end(cell)
        self._line(f"{cell}: failed. {reason}", "red")

    def _end(self, cell: Cell) -> float:
        self._done += 1
        running = self._running.pop(cell, None)
        return time.monotonic() - running.since if running else 0.0

    def _line(self, text: str, style: str) -> None:
        self._console.print(Text(f"[{self._done}/{self._cells}] {text}", style))

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 1))
        for cell, running in self._running.items():
            table.add_row(
                Text(str(cell), "bold"),
                Text(running.what),
                ProgressBar(total=running.total or None, completed=running.done, width=24)
                if running.total
                else Text(""),
                Text(f"{running.done}/{running.total}" if running.total else ""),
                Text(clock(time.monotonic() - running.since), "dim"),
            )
        total = Table.grid(padding=(0, 1))
        total.add_row(
            Text("all cells", "bold"),
            ProgressBar(total=self._cells or None, completed=self._done, width=40),
            Text(f"{self._done}/{self._cells}"),
            Text(self._remaining(), "dim"),
        )
        return Group(table, total)

    def _remaining(self) -> str:
        if not self._pace.seconds:
            return f"{clock(time.monotonic() - self._began)} so far"
        now = time.monotonic()
        left = sum(self._pace.expect(cell.strategy) for cell in self._waiting)
        for cell, running in self._running.items():
            left += max(0.0, self._pace.expect(cell.strategy) - (now - running.since))
        return f"about {clock(left / self._workers)} left"


def clock(seconds: float) -> str:
    """Write a duration as people do: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
