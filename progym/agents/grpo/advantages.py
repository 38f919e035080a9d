"""Advantages: how much better than its group a call did.

Equal to what TRL's GRPOTrainer computes where all groups have one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

ScaleRewards = Literal["group", "batch", "none"]
"""What advantages are divided by: their group's spread, the batch's, or nothing (TRL's names)."""

SCALES: tuple[str, ...] = get_args(ScaleRewards)

_EPSILON = 1e-4
"""Added to the spread before dividing, as in the paper and TRL."""

Rewards = Sequence[Sequence[float]]
"""The members' rewards of each group."""


def group_advantages(rewards: Rewards, scale: ScaleRewards = "group") -> list[NDArray[np.float64]]:
    """Compare each reward with its group's mean; a group without variance gets exact zeros."""
    batch = np.concatenate([np.asarray(group, np.float64) for group in rewards] or [np.zeros(0)])
    everywhere = _spread(batch)
    found: list[NDArray[np.float64]] = []
    for group in rewards:
        values = np.asarray(group, np.float64)
        if is_level(group):
            found.append(np.zeros_like(values))
            continue
        spread = {"group": _spread(values), "batch": everywhere}.get(scale)
        centred = values - values.mean()
        found.append(centred if spread is None else centred / (spread + _EPSILON))
    return found


def is_level(rewards: Sequence[float]) -> bool:
    """Tell whether all rewards are the same, so that the group teaches nothing."""
    return len(set(rewards)) <= 1


def _spread(values: NDArray[np.float64]) -> float:
    """The sample standard deviation (n - 1), as TRL takes it."""
    return float(values.std(ddof=1)) if values.size > 1 else 0.0
