"""Scores a bundle from its re-executed episodes alone; what it claims is only compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from progym.benchmarks.evaluation import mean_by_example
from progym.benchmarks.intervals import Estimate, Scores, difference, mean_score, suite_mean
from progym.leaderboard.bundle import MANIFEST, Bundle, BundledRun, Spent
from progym.leaderboard.findings import Finding, found

BASELINE = "vanilla"
TOLERANCE = 1e-6
"""How far a claim may be off: rounding, and nothing else."""


@dataclass(frozen=True)
class TaskScore:
    """One strategy on one task."""

    task: str
    score: Estimate
    gain: Estimate | None
    """Over vanilla; None for vanilla itself, or where it was not run."""
    seed_means: tuple[float, ...]


@dataclass(frozen=True)
class Entry:
    """One strategy of a bundle: what a row of the board shows."""

    strategy: str
    tasks: tuple[TaskScore, ...]
    mean: Estimate
    gain: Estimate | None
    seeds: tuple[int, ...]
    rollouts: float
    """Spent on optimization over all tasks, mean over seeds; declared, as are the tokens."""
    tokens: float
    tokens_per_episode: float
    """Prompt and completion tokens of an evaluation episode, as recorded."""


def score_bundle(bundle: Bundle) -> tuple[tuple[Entry, ...], list[Finding]]:
    """Score every strategy, and say where a claim or a sum does not follow."""
    arms = {
        (task, strategy): _arm(bundle, task, strategy)
        for task in bundle.manifest.tasks
        for strategy in bundle.manifest.strategies
    }
    findings = [finding for run in bundle.runs for finding in _check_run(run)]
    findings += _check_claims(bundle, arms)
    if findings:  # sums that are wrong may be 0, and nothing can be divided by them
        return (), findings
    return tuple(_entry(bundle, name, arms) for name in bundle.manifest.strategies), []


def _arm(bundle: Bundle, task: str, strategy: str) -> Scores:
    """Stack a strategy's scores on a task: (seeds, examples)."""
    return np.array([_scores(run) for run in _runs(bundle, strategy, task)], dtype=np.float64)


def _runs(bundle: Bundle, strategy: str, task: str | None = None) -> list[BundledRun]:
    return [
        run for run in bundle.runs if run.run.strategy == strategy and task in (None, run.run.task)
    ]


def _scores(run: BundledRun) -> list[float]:
    scores = [episode.score for episode in run.episodes]
    means = mean_by_example(scores, run.run.evaluation.repeats)
    return [mean for mean in means if mean is not None]


def _entry(bundle: Bundle, strategy: str, arms: Mapping[tuple[str, str], Scores]) -> Entry:
    tasks = tuple(_task_score(task, strategy, arms) for task in bundle.manifest.tasks)
    gains = [task.gain for task in tasks if task.gain is not None]
    runs, seeds = _runs(bundle, strategy), bundle.manifest.seeds
    costs = [stage.cost for run in runs for stage in run.run.stages]
    evaluation = [run.run.evaluation_cost for run in runs]
    return Entry(
        strategy=strategy,
        tasks=tasks,
        mean=suite_mean([task.score for task in tasks]),
        gain=suite_mean(gains) if gains else None,
        seeds=tuple(seeds),
        rollouts=sum(cost.rollouts for cost in costs) / len(seeds),
        tokens=_tokens(costs) / len(seeds),
        tokens_per_episode=_tokens(evaluation) / sum(cost.rollouts for cost in evaluation),
    )


def _task_score(task: str, strategy: str, arms: Mapping[tuple[str, str], Scores]) -> TaskScore:
    arm, baseline = arms[task, strategy], arms.get((task, BASELINE))
    gain = None
    if baseline is not None and strategy != BASELINE:
        gain = difference(arm, baseline)
    means = tuple(float(mean) for mean in arm.mean(axis=1))
    return TaskScore(task, mean_score(arm), gain, means)


def _tokens(costs: Sequence[Spent]) -> int:
    return sum(cost.prompt_tokens + cost.completion_tokens for cost in costs)


def _check_run(run: BundledRun) -> list[Finding]:
    file, cost, scores = f"{run.folder}/run.json", run.run.evaluation_cost, _scores(run)
    mean = fsum(scores) / len(scores)
    findings: list[Finding] = []
    if abs(run.run.score - mean) > TOLERANCE:
        findings.append(found("R07", file, field="score", expected=mean, given=run.run.score))
    calls = [call for episode in run.episodes for call in episode.calls]
    sums = {
        "rollouts": len(run.episodes),
        "calls": len(calls),
        "prompt_tokens": sum(call.prompt_tokens for call in calls),
        "completion_tokens": sum(call.completion_tokens for call in calls),
    }
    spent = cost.model_dump()
    for name, expected in sums.items():
        if spent[name] != expected:
            field = f"evaluation_cost.{name}"
            findings.append(found("B02", file, field=field, expected=expected, given=spent[name]))
    return findings


def _check_claims(bundle: Bundle, arms: Mapping[tuple[str, str], Scores]) -> list[Finding]:
    findings: list[Finding] = []
    for number, claim in enumerate(bundle.manifest.claims):
        arm, field = arms.get((claim.task, claim.strategy)), f"claims.{number}"
        if arm is None:
            given = f"{claim.task}, {claim.strategy}"
            findings.append(
                found("M01", MANIFEST, field=field, expected="one of the runs", given=given)
            )
        elif abs(claim.mean - float(arm.mean())) > TOLERANCE:
            mean = float(arm.mean())
            findings.append(
                found("R07", MANIFEST, field=f"{field}.mean", expected=mean, given=claim.mean)
            )
    return findings
