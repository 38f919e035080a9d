"""What is measured of a step on each side, and that both compute the same."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from grpo_sides import Ours, Theirs, Written
from grpo_workload import NEW_TOKENS, Prompts
from peak_memory import start_peak

from progym.agents.grpo.batch import Row
from progym.envs.module import StepType

T = TypeVar("T")
_TIE = 1e-3
"""Logits that differ by less are a tie: rounding decides which of the two tokens is taken."""
_CLOSE = 1e-3
"""Largest difference of gradients, relative to them."""


@dataclass(frozen=True)
class Spent:
    """What a stretch of work took."""

    seconds: float
    mib: float


@dataclass(frozen=True)
class Turn:
    """A step of one side."""

    rollout: Spent
    update: Spent

    @property
    def whole(self) -> Spent:
        seconds = self.rollout.seconds + self.update.seconds
        return Spent(seconds, max(self.rollout.mib, self.update.mib))


def take_turns(ours: Ours, theirs: Theirs, prompts: Prompts, rows: list[Row]) -> tuple[Turn, Turn]:
    """Have both roll out, then both update on what ours wrote; `rows` is filled if it is empty."""
    written, our_rollout = measure(lambda: ours.write(prompts))
    _, their_rollout = measure(lambda: theirs.write(prompts))
    rows.extend([] if rows else make_rows(written))
    ours_update = measure(lambda: (ours.backward(rows), ours.step()))
    their_update = measure(lambda: (theirs.backward(rows), theirs.step()))
    np.testing.assert_allclose(ours_update[0], their_update[0], rtol=_CLOSE)  # loss, norm
    return Turn(our_rollout, ours_update[1]), Turn(their_rollout, their_update[1])


def measure(work: Callable[[], T]) -> tuple[T, Spent]:
    """Do something and say what it took, in CPU seconds."""
    peak = start_peak()
    start = time.process_time()
    result = work()
    return result, Spent(time.process_time() - start, peak())


def make_rows(written: Written) -> list[Row]:
    """Cut completions to lengths as they might have ended, and draw advantages."""
    rng = np.random.default_rng(0)
    return [
        Row(
            StepType(module, 0),
            tuple(prompt),
            tuple(tokens[: int(rng.integers(NEW_TOKENS // 4, NEW_TOKENS + 1))]),
            float(rng.normal()),
        )
        for module, calls in written.items()
        for prompt, tokens in calls
    ]


def check_equal(ours: Ours, theirs: Theirs, prompts: Prompts, *, calls: int) -> None:
    """Hold the two sides' likeliest tokens and gradients together, on a few calls a module."""
    few = {module: found[:: max(1, len(found) // calls)] for module, found in prompts.items()}
    mine, other = (side.write(few, temperature=0.0, most=16) for side in (ours, theirs))
    for module in few:
        for (prompt, tokens), (same_prompt, others) in zip(
            mine[module], other[module], strict=True
        ):
            assert prompt == list(same_prompt)
            assert _gap(ours.lm.model, prompt, tokens, list(others)) < _TIE
    rows = make_rows(mine)
    losses = [side.backward(rows) for side in (ours, theirs)]
    np.testing.assert_allclose(*losses, rtol=_CLOSE)
    gradient, same = ours.gradients(), theirs.gradients()
    assert float((gradient - same).norm() / same.norm()) < _CLOSE
    for side in (ours, theirs):
        side.trainer.model.zero_grad()


@torch.no_grad()
def _gap(model: Any, prompt: Sequence[int], one: Sequence[int], other: Sequence[int]) -> float:
    """Give the distance of two continuations' logits where they part; 0 if they do not."""
    assert len(one) == len(other)
    parts = [place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    if not parts:
        return 0.0
    ids = torch.tensor([[*prompt, *one[: parts[0]]]])
    logits = model(input_ids=ids).logits[0, -1]
    return float((logits[one[parts[0]]] - logits[other[parts[0]]]).abs())
