"""What a backward pass did, and whether it may move the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from progym.envs.errors import TrainingDiverged


def check_gradients(model: Any, step: int) -> None:
    """Raise TrainingDiverged for a gradient that is not finite, before any weight has moved."""
    for parameter in model.parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            raise diverged("A gradient", float("nan"), step)


def norm_of_change(weights: Sequence[torch.Tensor], before: Sequence[torch.Tensor | None]) -> float:
    """Give the norm of what was added to gradients; None stands for one that was not there."""
    squares = [
        (p.grad if old is None else p.grad - old).double().square().sum()
        for p, old in zip(weights, before, strict=True)
        if p.grad is not None
    ]
    return math.sqrt(torch.stack(squares).sum().item()) if squares else 0.0


def diverged(what: str, value: float, step: int) -> TrainingDiverged:
    """Say what went wrong at a step, and what to do."""
    return TrainingDiverged(
        f"{what} of step {step} is {value}; the weights were not touched by it. "
        "Lower learning_rate, or raise beta; the step's record is in metrics.jsonl."
    )
