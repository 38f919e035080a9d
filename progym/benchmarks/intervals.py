"""Intervals for what a benchmark claims: means, differences, interactions, suite means, fronts.

Scores of one strategy on one task are an array (S seeds, N items), a score in [0, 1] already
averaged over repeats. Items are shared by all strategies, seeds are each strategy's own, so a
contrast of strategies has one variance from the seeds of each and one from the paired items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from progym.envs.errors import BadValue

Scores = NDArray[np.float64]
"""Scores of one strategy on one task: (seeds, items)."""

Method = Literal["satterthwaite", "bootstrap", "wilson", "items only"]
"""How an interval came about; "items only" says that one seed tells nothing about seeds."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Component:
    """One source of variance of an estimate: its variance, and the degrees of freedom behind it."""

    variance: float
    df: int


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and the variances that made it."""

    value: float
    low: float
    high: float
    method: Method
    components: tuple[Component, ...] = ()
    bounds: tuple[float, float] = (-1.0, 1.0)
    """What the number can be at all."""

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def mean_score(scores: Scores) -> Estimate:
    """Estimate a strategy's mean score over seeds and items."""
    return contrast([scores], (1.0,))


def difference(scores: Scores, baseline: Scores) -> Estimate:
    """Estimate how much better `scores` are than a baseline on the same items."""
    return contrast([scores, baseline], (1.0, -1.0))


def interaction(both: Scores, second: Scores, first: Scores, neither: Scores) -> Estimate:
    """Estimate what composing adds: (both - second) - (first - neither)."""
    return contrast([both, second, first, neither], (1.0, -1.0, -1.0, 1.0))


def contrast(arms: Sequence[Scores], weights: Sequence[float]) -> Estimate:
    """Estimate a weighted sum of arms by the two-source rule, items paired.

    The variance is that of each arm's seed means over its seeds plus that of the items' weighted
    sums over the items; the t quantile has Satterthwaite's degrees of freedom. Slightly
    conservative: the item part holds some of the seeds' noise too.
    """
    _check(arms, weights)
    items = sum(weight * arm.mean(axis=0) for weight, arm in zip(weights, arms, strict=True))
    assert isinstance(items, np.ndarray)
    value = float(items.mean())
    components: list[Component] = []
    for weight, arm in zip(weights, arms, strict=True):
        if len(arm) > 1:
            variance = weight**2 * _variance(arm.mean(axis=1)) / len(arm)
            components.append(Component(variance, len(arm) - 1))
    if len(items) > 1:
        components.append(Component(_variance(items) / len(items), len(items) - 1))
    if all(component.variance == 0 for component in components):
        return _degenerate(arms, weights, value)
    method: Method = "satterthwaite" if all(len(arm) > 1 for arm in arms) else "items only"
    return _interval(value, components, method, _bounds(weights))


def suite_mean(estimates: Sequence[Estimate]) -> Estimate:
    """Average one estimate per task, the tasks taken as fixed and independent."""
    if not estimates:
        raise BadValue("A suite mean needs at least one task.")
    count = len(estimates)
    value = sum(estimate.value for estimate in estimates) / count
    components = [
        Component(component.variance / count**2, component.df)
        for estimate in estimates
        for component in estimate.components
    ]
    low = sum(estimate.bounds[0] for estimate in estimates) / count
    high = sum(estimate.bounds[1] for estimate in estimates) / count
    seeds_known = all(estimate.method != "items only" for estimate in estimates)
    method: Method = "satterthwaite" if seeds_known else "items only"
    return _interval(value, components, method, (low, high))


def crossed_bootstrap(
    arms: Sequence[Scores],
    weights: Sequence[float],
    *,
    seed: int,
    resamples: int = 10_000,
) -> Estimate:
    """Estimate a weighted sum of arms by resampling each arm's seeds and, jointly, the items.

    A percentile interval: too narrow below ten seeds, which is why it is shown and not ranked by.
    """
    _check(arms, weights)
    rng = np.random.default_rng(seed)
    n = arms[0].shape[1]
    values = np.zeros(resamples)
    chunk = max(1, 4_000_000 // n)  # keeps the count matrices below some 100 MB
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        item_share = rng.multinomial(n, np.full(n, 1 / n), size=rows) / n  # (rows, N)
        for weight, arm in zip(weights, arms, strict=True):
            s = len(arm)
            seed_share = rng.multinomial(s, np.full(s, 1 / s), size=rows) / s  # (rows, S)
            drawn = np.einsum("rn,rn->r", seed_share @ arm, item_share)
            values[start : start + rows] += weight * drawn
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    value = float(sum(w * arm.mean() for w, arm in zip(weights, arms, strict=True)))
    return Estimate(value, float(low), float(high), "bootstrap", bounds=_bounds(weights))


def wilson(rate: float, n: int) -> tuple[float, float]:
    """Give Wilson's interval of a rate over n items."""
    if not 0 <= rate <= 1 or n < 1:
        raise BadValue(f"A rate in [0, 1] over 1 or more items is needed, got {rate} over {n}.")
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    middle = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def non_dominated(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Find the points (score, cost) that no other beats: as good in both, better in one."""
    front: list[int] = []
    for i, (score, cost) in enumerate(points):
        beaten = any(
            other_score >= score
            and other_cost <= cost
            and (other_score > score or other_cost < cost)
            for other_score, other_cost in points
        )
        if not beaten:
            front.append(i)
    return tuple(front)


def overlap(a: Estimate, b: Estimate) -> bool:
    """Whether two intervals share a point."""
    return a.low <= b.high and b.low <= a.high


def _variance(values: Scores) -> float:
    """Sample variance, exactly 0 for equal values, whose mean may be off by a rounding."""
    if float(np.ptp(values)) <= 1e-12:
        return 0.0
    return float(values.var(ddof=1))


def _interval(
    value: float, components: Sequence[Component], method: Method, bounds: tuple[float, float]
) -> Estimate:
    total = sum(component.variance for component in components)
    df = total**2 / sum(component.variance**2 / component.df for component in components)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, df)) * total**0.5
    low, high = max(bounds[0], value - half), min(bounds[1], value + half)
    return Estimate(value, low, high, method, tuple(components), bounds)


def _degenerate(arms: Sequence[Scores], weights: Sequence[float], value: float) -> Estimate:
    """Join the arms' Wilson intervals as Newcombe does, since the data show no spread at all.

    Its longer side stands in for the error: a suite mean is no surer of itself than the task.
    """
    below = above = 0.0
    for weight, arm in zip(weights, arms, strict=True):
        rate = min(1.0, max(0.0, float(arm.mean())))
        low, high = wilson(rate, arm.shape[1])
        down, up = weight * (rate - low), weight * (high - rate)
        below += (down if weight > 0 else up) ** 2
        above += (up if weight > 0 else down) ** 2
    low, high = value - below**0.5, value + above**0.5
    error = max(below, above) ** 0.5 / float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    component = Component(error**2, max(1, arms[0].shape[1] - 1))
    return Estimate(value, low, high, "wilson", (component,), _bounds(weights))


def _bounds(weights: Sequence[float]) -> tuple[float, float]:
    """Give the least and the most a contrast of scores in [0, 1] can be."""
    return sum(w for w in weights if w < 0), sum(w for w in weights if w > 0)


def _check(arms: Sequence[Scores], weights: Sequence[float]) -> None:
    if not arms or len(arms) != len(weights):
        raise BadValue(f"One weight per arm is needed, got {len(weights)} for {len(arms)} arms.")
    shapes = [arm.shape for arm in arms]
    if any(len(shape) != 2 or 0 in shape or shape[1] != shapes[0][1] for shape in shapes):
        raise BadValue(f"Arms are (seeds, items) arrays over the same items, got shapes {shapes}.")
    if not all(np.isfinite(arm).all() for arm in arms):
        raise BadValue("Scores must be finite; an episode without a score can't be averaged.")
