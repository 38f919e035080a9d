"""Successive halving: many candidates on few examples, then ever fewer on ever more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from progym.envs.prompts import PromptSet

Evaluate = Callable[[PromptSet, Sequence[str]], Sequence[float]]
"""Scores a prompt set on examples by id, one score an example."""


@dataclass(frozen=True)
class Ranked:
    """A candidate with its mean score over the examples it has seen so far."""

    prompts: PromptSet
    scores: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """The mean score, 0 before any example."""
        return float(np.mean(self.scores)) if self.scores else 0.0


def halve(
    candidates: Sequence[PromptSet],
    example_ids: Sequence[str],
    evaluate: Evaluate,
    *,
    first_rung: int,
    budget: int,
) -> list[Ranked]:
    """Keep the better half rung by rung until two are left or the budget is; best first.

    All candidates of a rung see the same new examples, in the order given. A rung that would cost
    more than what is left of `budget` (evaluations of one example) is not begun.
    """
    ranked = [Ranked(candidate) for candidate in candidates]
    begin, size = 0, first_rung
    while len(ranked) > 1 and begin < len(example_ids):
        rung = example_ids[begin : begin + size]
        cost = len(rung) * len(ranked)
        if cost > budget:
            break
        budget -= cost
        ranked = [Ranked(r.prompts, (*r.scores, *evaluate(r.prompts, rung))) for r in ranked]
        ranked.sort(key=lambda r: r.mean, reverse=True)  # stable: ties keep the earlier candidate
        if len(ranked) == 2:
            break
        ranked = ranked[: max(2, (len(ranked) + 1) // 2)]
        begin, size = begin + len(rung), size * 2
    return ranked
