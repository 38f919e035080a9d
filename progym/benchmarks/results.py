"""What a run's cells say together: scores, gains and interactions with intervals, and costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from progym.agents.stage import Cost
from progym.benchmarks.cell_record import CellRecord, read_cell
from progym.benchmarks.intervals import Estimate
from progym.benchmarks.run_folder import RunInfo, read_run
from progym.envs.errors import BadData


@dataclass(frozen=True)
class Run:
    """A run's folder as read: what it is, and its finished cells."""

    folder: Path
    info: RunInfo
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]
    cells: tuple[CellRecord, ...]


@dataclass(frozen=True)
class Comparison:
    """A number with two intervals: ours to go by, the bootstrap's beside it."""

    estimate: Estimate
    bootstrap: Estimate

    @property
    def verdict(self) -> str:
        """Whether the interval excludes 0, in words."""
        return "excludes 0" if self.estimate.excludes_zero else "includes 0"


@dataclass(frozen=True)
class Row:
    """One strategy on one task."""

    strategy: str
    seeds_done: int
    seeds_planned: int
    faults: int
    """Episodes that the system failed, over all seeds."""
    score: Comparison | None
    gain: Comparison | None
    """Over the baseline; None for the baseline itself and where either is incomplete."""
    stands_out: bool
    """Best, and its interval overlaps no other's."""
    is_on_front: bool
    """No other strategy scores as high for as few rollouts."""
    optimization: Cost | None
    """Mean over seeds."""
    tokens_per_episode: float | None
    calls_per_episode: float | None
    seed_means: tuple[float, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every planned seed has a score."""
        return self.seeds_done == self.seeds_planned and self.faults == 0


@dataclass(frozen=True)
class Interaction:
    """Whether composing two stages does more than the stages do by themselves."""

    strategy: str
    comparison: Comparison


@dataclass(frozen=True)
class TaskResult:
    """One task: a row a strategy, and the interactions of the composed ones."""

    task: str
    env_id: str
    fingerprint: str
    examples: int
    rows: tuple[Row, ...]
    interactions: tuple[Interaction, ...]

    def row(self, strategy: str) -> Row:
        """Look up a strategy's row."""
        return next(row for row in self.rows if row.strategy == strategy)


@dataclass(frozen=True)
class SuiteRow:
    """One strategy over all tasks; None where a task is incomplete."""

    strategy: str
    score: Estimate | None
    gain: Estimate | None


@dataclass(frozen=True)
class Results:
    """Everything the tables and pictures of a run show."""

    run: Run
    baseline: str
    """The strategy that gains are over."""
    tasks: tuple[TaskResult, ...]
    suite: tuple[SuiteRow, ...]

    @property
    def is_embedded(self) -> bool:
        """Whether any task runs on a world that progym generates."""
        kwargs = [task["kwargs"] for task in self.run.info.suite["tasks"]]
        return any(values.get("data", "embedded") == "embedded" for values in kwargs)


def read_cells(folder: Path) -> Run:
    """Read a run's finished cells; raises DataUnavailable where there is no run."""
    info = read_run(folder)
    cells = tuple(read_cell(path) for path in sorted(folder.glob("cells/*/*/*/cell.json")))
    for cell in cells:
        if cell.suite_digest != info.digest:
            raise BadData(f"{cell.cell}: a cell of another suite lies in {folder}. Remove it.")
    return Run(
        folder=folder,
        info=info,
        strategies=tuple(info.suite["strategies"]),
        seeds=tuple(info.suite["seeds"]),
        tasks=tuple(task["name"] for task in info.suite["tasks"]),
        cells=cells,
    )
