"""Computes what a run's cells say together, from what is on disk.

A strategy's score on a task is given over the seeds that are done, and says how many those are;
with a cell in which the system failed episodes it has none. Gains and interactions are given only
for strategies that are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from progym.agents.notation import VANILLA
from progym.agents.seeding import derive_seed
from progym.agents.stage import Cost
from progym.benchmarks.cell_record import CellRecord
from progym.benchmarks.intervals import (
    Scores,
    contrast,
    crossed_bootstrap,
    non_dominated,
    overlap,
    suite_mean,
)
from progym.benchmarks.results import (
    Comparison,
    Interaction,
    Results,
    Row,
    Run,
    SuiteRow,
    TaskResult,
    read_cells,
)
from progym.envs.errors import BadData, DataUnavailable, unknown


def summarize(folder: Path, *, baseline: str = VANILLA) -> Results:
    """Compute all there is to show of a run, with gains over `baseline`.

    Raises DataUnavailable before the first cell, and UnknownName for a baseline it does not have.
    """
    run = read_cells(folder)
    if baseline not in (VANILLA, *run.strategies):  # a suite without vanilla has no gains over it
        raise unknown("strategy", baseline, run.strategies)
    if not run.cells:
        raise DataUnavailable(f"{folder} has no finished cells yet. Go on with --resume.")
    tasks = tuple(
        _summarize_task(run, task, baseline)
        for task in run.tasks
        if any(cell.task == task for cell in run.cells)
    )
    complete = len(tasks) == len(run.tasks)
    suite = tuple(_summarize_suite(tasks, strategy, complete) for strategy in run.strategies)
    return Results(run, baseline, tasks, suite)


Compare = Callable[[str, Sequence[Scores], Sequence[float]], Comparison]


def _summarize_task(run: Run, task: str, baseline: str) -> TaskResult:
    cells = [cell for cell in run.cells if cell.task == task]
    first = cells[0].inputs
    for cell in cells:
        if (cell.inputs.fingerprint, cell.inputs.examples) != (first.fingerprint, first.examples):
            raise BadData(f"{cell.cell}: other data than {cells[0].cell}. They can't be compared.")
    arms = {name: _scores(found) for name, found in _by_strategy(run, cells).items()}
    scored = {name: arm for name, arm in arms.items() if arm is not None}
    whole = {name: arm for name, arm in scored.items() if len(arm) == len(run.seeds)}
    compare = _comparer(run, task)
    return TaskResult(
        task=task,
        env_id=first.env_id,
        fingerprint=first.fingerprint,
        examples=len(first.examples),
        rows=_rows(run, cells, scored, compare, baseline),
        interactions=_interactions(whole, compare),
    )


def _rows(
    run: Run,
    cells: Sequence[CellRecord],
    scored: Mapping[str, Scores],
    compare: Compare,
    baseline: str,
) -> tuple[Row, ...]:
    by_strategy = _by_strategy(run, cells)
    whole = {name: arm for name, arm in scored.items() if len(arm) == len(run.seeds)}
    scores = {name: compare(f"{name} score", [arm], (1.0,)) for name, arm in scored.items()}
    gains = {
        name: compare(f"{name} gain", [arm, whole[baseline]], (1.0, -1.0))
        for name, arm in whole.items()
        if baseline in whole and name != baseline
    }
    complete = {name: scores[name] for name in whole}
    best, front = _standing_out(complete), _front(complete, by_strategy)
    return tuple(
        Row(
            strategy=name,
            seeds_done=len(found),
            seeds_planned=len(run.seeds),
            faults=sum(cell.faults for cell in found),
            score=scores.get(name),
            gain=gains.get(name),
            stands_out=name == best,
            is_on_front=name in front,
            optimization=_mean_cost(found),
            tokens_per_episode=_per_episode(found, _tokens),
            calls_per_episode=_per_episode(found, lambda cost: cost.calls),
            seed_means=_seed_means(scored.get(name)),
        )
        for name, found in by_strategy.items()
    )


def _by_strategy(run: Run, cells: Sequence[CellRecord]) -> dict[str, list[CellRecord]]:
    return {
        strategy: [cell for cell in cells if cell.strategy == strategy]
        for strategy in run.strategies
    }


def _seed_means(scores: Scores | None) -> tuple[float, ...]:
    return () if scores is None else tuple(float(mean) for mean in scores.mean(axis=1))


def _comparer(run: Run, task: str) -> Compare:
    """Give a function that estimates a contrast both ways, with a bootstrap seed of its own."""
    content = [cell.identity for cell in run.cells]

    def compare(what: str, arms: Sequence[Scores], weights: Sequence[float]) -> Comparison:
        seed = derive_seed("bootstrap", *content, task, what)
        return Comparison(contrast(arms, weights), crossed_bootstrap(arms, weights, seed=seed))

    return compare


def _scores(cells: Sequence[CellRecord]) -> Scores | None:
    """Stack the seeds' scores; None if there are none, or one lacks a score."""
    rows = [[score for score in cell.scores if score is not None] for cell in cells]
    if not rows or any(cell.score is None for cell in cells):
        return None
    return np.array(rows, dtype=np.float64)


def _interactions(arms: Mapping[str, Scores], compare: Compare) -> tuple[Interaction, ...]:
    """Estimate the 2x2 of each two-stage strategy whose four corners are there."""
    found: list[Interaction] = []
    for name in arms:
        parts = name.split(" -> ")
        if len(parts) == 2 and parts[0] != parts[1] and {*parts, VANILLA} <= arms.keys():
            first, second = parts
            corners = [arms[name], arms[second], arms[first], arms[VANILLA]]
            comparison = compare(f"{name} interaction", corners, (1.0, -1.0, -1.0, 1.0))
            found.append(Interaction(name, comparison))
    return tuple(found)


def _standing_out(scores: Mapping[str, Comparison]) -> str | None:
    """Find the strategy whose interval lies above all others'."""
    if len(scores) < 2:
        return None
    best = max(scores, key=lambda name: scores[name].estimate.value)
    others = [comparison.estimate for name, comparison in scores.items() if name != best]
    return None if any(overlap(scores[best].estimate, other) for other in others) else best


def _front(
    scores: Mapping[str, Comparison], cells: Mapping[str, Sequence[CellRecord]]
) -> frozenset[str]:
    costs = {name: _mean_cost(cells[name]) or Cost() for name in scores}
    points = [(scores[name].estimate.value, float(costs[name].rollouts)) for name in scores]
    names = list(scores)
    return frozenset(names[position] for position in non_dominated(points))


def _mean_cost(cells: Sequence[CellRecord]) -> Cost | None:
    if not cells:
        return None
    total = sum((cell.optimization_cost for cell in cells), Cost())
    n = len(cells)
    return Cost(
        rollouts=round(total.rollouts / n),
        calls=round(total.calls / n),
        prompt_tokens=round(total.prompt_tokens / n),
        completion_tokens=round(total.completion_tokens / n),
        seconds=total.seconds / n,
    )


def _tokens(cost: Cost) -> int:
    return cost.prompt_tokens + cost.completion_tokens


def _per_episode(cells: Sequence[CellRecord], of: Callable[[Cost], int]) -> float | None:
    """Average something the evaluation spent over its episodes."""
    episodes = sum(cell.evaluation_cost.rollouts for cell in cells)
    return sum(of(cell.evaluation_cost) for cell in cells) / episodes if episodes else None


def _summarize_suite(tasks: Sequence[TaskResult], strategy: str, complete: bool) -> SuiteRow:
    rows = [task.row(strategy) for task in tasks]
    scores = [row.score.estimate for row in rows if row.score is not None and row.is_complete]
    gains = [row.gain.estimate for row in rows if row.gain is not None]
    return SuiteRow(
        strategy=strategy,
        score=suite_mean(scores) if complete and len(scores) == len(rows) else None,
        gain=suite_mean(gains) if complete and len(gains) == len(rows) else None,
    )
