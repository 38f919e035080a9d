"""Padding: what to do where the runs of one example call a module a different number of times.

Every strategy takes the calls of each run, runs without a call left out by the caller, and gives
the groups: one list of members for each occurrence. Nobody's calls stand in for another run's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from progym.envs.records import CallRecord


@dataclass(frozen=True, slots=True)
class Member:
    """One of those that a group compares: a call, or several of a run that share an advantage."""

    run: int
    """Position in the batch."""
    places: tuple[int, ...]
    """Positions of the calls in their run."""
    calls: tuple[CallRecord, ...]
    reward: float


Slots = list[list[Member]]
"""One list of members for each occurrence of a module."""

Padding = Callable[[Sequence[Sequence[Member]], np.random.Generator], Slots]
"""Lines up the calls of a module. Pure: it draws from the generator and changes nothing else."""


def truncate(runs: Sequence[Sequence[Member]], rng: np.random.Generator) -> Slots:  # noqa: ARG001
    """Keep the occurrences that every run has."""
    return [[run[k] for run in runs] for k in range(min(map(len, runs), default=0))]


def fill(runs: Sequence[Sequence[Member]], rng: np.random.Generator) -> Slots:
    """Draw the calls that a run lacks, with replacement, from its own."""
    longest = max(map(len, runs), default=0)
    return [
        [run[k] if k < len(run) else run[int(rng.integers(len(run)))] for run in runs]
        for k in range(longest)
    ]


def ragged(runs: Sequence[Sequence[Member]], rng: np.random.Generator) -> Slots:  # noqa: ARG001
    """Keep every call once; later occurrences have fewer members."""
    longest = max(map(len, runs), default=0)
    return [[run[k] for run in runs if k < len(run)] for k in range(longest)]


PADDINGS: dict[str, Padding] = {"truncate": truncate, "fill": fill, "ragged": ragged}
"""By the name a config gives."""
