"""What a backward pass did, and whether it may move the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from progym.agents.processes import Processes
from progym.envs.errors import TrainingDiverged


def check_gradients(model: Any, step: int) -> None:
    """Raise TrainingDiverged for a gradient that is not finite, before any weight has moved."""
    for parameter in model.parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            raise diverged("A gradient", float("nan"), step)


def share_change(
    weights: Sequence[torch.Tensor], before: Sequence[torch.Tensor | None], processes: Processes
) -> float:
    """Make everybody's what was added to gradients since `before`, and give its norm.

    None stands for a gradient that was not there; a weight has one in all processes or in none.
    """
    pairs = zip(weights, before, strict=True)
    moved = [(weight, weight.grad, old) for weight, old in pairs if weight.grad is not None]
    changes = [grad if old is None else grad - old for _, grad, old in moved]
    if processes.world_size > 1:
        processes.add_up(changes)
        for (weight, _, old), change in zip(moved, changes, strict=True):
            weight.grad = change if old is None else old + change
    squares = [change.double().square().sum() for change in changes]
    return math.sqrt(torch.stack(squares).sum().item()) if squares else 0.0


def diverged(what: str, value: float, step: int) -> TrainingDiverged:
    """Say what went wrong at a step, and what to do."""
    return TrainingDiverged(
        f"{what} of step {step} is {value}; the weights were not touched by it. "
        "Lower learning_rate, or raise beta; the step's record is in metrics.jsonl."
    )
