"""A run between two steps, in one file that a kill leaves whole, old or new.

What is drawn comes from the seed and the step, so a run needs no generator's state to go on: its
weights, its optimizer and its records are all there is.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from progym.agents.stage import Cost, CurvePoint
from progym.agents.storage import write_atomic
from progym.envs.errors import BadData

Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Best:
    """The adapter that scored best on val so far."""

    step: int
    score: float
    weights: Weights
    waited: int = 0
    """Evaluations since."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run needs to go on as if it had never stopped."""

    step: int
    """Steps that are done."""
    weights: Weights
    optimizer: Mapping[str, Any]
    seconds: float
    """Wall time of the run so far."""
    cost: Cost
    curve: tuple[CurvePoint, ...]
    lines: Mapping[str, int]
    """How many lines each of the run's records had."""
    signs: Mapping[str, Any]
    best: Best | None


def take_weights(trained: Mapping[str, torch.nn.Parameter]) -> Weights:
    """Copy what is trained."""
    return {name: parameter.detach().cpu().clone() for name, parameter in trained.items()}


@torch.no_grad()
def put_weights(trained: Mapping[str, torch.nn.Parameter], weights: Weights) -> None:
    """Set what is trained; raises BadData where names or shapes do not fit."""
    if {n: p.shape for n, p in trained.items()} != {n: w.shape for n, w in weights.items()}:
        raise BadData("The checkpoint's adapter does not fit the model's. Delete it to begin anew.")
    for name, parameter in trained.items():
        parameter.copy_(weights[name])


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in the place of the one before; raises RecordingFailed."""
    best = checkpoint.best
    values = {
        **vars(checkpoint),
        "cost": asdict(checkpoint.cost),
        "curve": [asdict(point) for point in checkpoint.curve],
        "best": None if best is None else dict(vars(best)),
    }
    content = io.BytesIO()
    torch.save(values, content)
    write_atomic(path, content.getvalue())


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint, None where there is none; raises BadData where it is corrupt."""
    if not path.is_file():
        return None
    try:
        values = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
        read = Checkpoint(**values)
        return replace(
            read,
            cost=Cost(**values["cost"]),
            curve=tuple(CurvePoint(**point) for point in values["curve"]),
            best=None if values["best"] is None else Best(**values["best"]),
        )
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise BadData(
            f"{path}: not a checkpoint of an mmgrpo run ({error}). Delete it to begin anew."
        ) from error
