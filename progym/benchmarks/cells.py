"""Cells: the (task, strategy, seed) combinations of a suite, in the order they are run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from progym.agents.notation import VANILLA, folder_of
from progym.agents.rollouts import RolloutRequest, requests_for
from progym.agents.seeding import derive_seed
from progym.agents.storage import digest_of
from progym.benchmarks.suite import Suite, SuiteTask


@dataclass(frozen=True)
class Cell:
    """One strategy on one task with one seed."""

    task: str
    strategy: str
    seed: int

    def __str__(self) -> str:
        return f"{self.task}, {self.strategy}, seed {self.seed}"

    def folder(self, run: Path) -> Path:
        """Give the cell's folder in a run."""
        return run / "cells" / self.task / folder_of(self.strategy) / f"seed-{self.seed}"

    def stages(self, suite: Suite) -> frozenset[str]:
        """Name the stage runs it may share with other cells; cells that do don't run at once.

        Any stage, not just the first: `po` may end with the plain prompts, and then the `mmgrpo` of
        `po -> mmgrpo` is that of `mmgrpo`. By environment, as tasks may differ in evaluation only.
        Variants count as stages of their own; where two have the same settings, one cell waits.
        """
        task = suite.task(self.task)
        names = () if self.strategy == VANILLA else self.strategy.split(" -> ")
        return frozenset(digest_of([task.env, task.kwargs, name, self.seed]) for name in names)


def cells_of(suite: Suite) -> tuple[Cell, ...]:
    """List a suite's cells, seed by seed, so that an early look sees every strategy once."""
    return tuple(
        Cell(task.name, strategy, seed)
        for seed in suite.seeds
        for task in suite.tasks
        for strategy in suite.strategies
    )


def pick_examples(suite: Suite, task: SuiteTask, ids: tuple[str, ...]) -> tuple[str, ...]:
    """Pick the examples a task is evaluated on: the same for every strategy and seed."""
    wanted, split = task.evaluation.examples, task.evaluation.split
    if wanted >= len(ids):
        return ids
    rng = np.random.default_rng(derive_seed("examples", suite.name, task.name, split))
    chosen = np.sort(rng.choice(len(ids), size=wanted, replace=False))
    return tuple(ids[int(position)] for position in chosen)


def plan_evaluation(task: SuiteTask, examples: tuple[str, ...], seed: int) -> list[RolloutRequest]:
    """List the episodes a cell is evaluated on, with their seeds; repeats lie side by side."""
    begin = derive_seed(seed, "evaluation")
    return requests_for(examples, repeats=task.evaluation.repeats, seed=begin)
