"""What an update says of its tokens, by step type: how sure, how far from the start, how clipped.

Sums over tokens, so that step types add up to modules and processes to a whole. TRL's names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from progym.agents.grpo.batch import Tensors
from progym.envs.module import StepType

ENTROPY, KL, CLIPPED = "entropy", "kl", "clip_ratio/region_mean"


@dataclass(frozen=True)
class TokenSums:
    """Sums over the tokens of some rows."""

    tokens: float
    values: Mapping[str, float]

    def __add__(self, other: TokenSums) -> TokenSums:
        names = {**self.values, **other.values}
        both = {n: self.values.get(n, 0.0) + other.values.get(n, 0.0) for n in names}
        return TokenSums(self.tokens + other.tokens, both)


def clip_limits(epsilon: float, epsilon_high: float, loss_type: str) -> tuple[float, float]:
    """Give the ratios outside of which a token counts as clipped."""
    if loss_type == "cispo":  # clamps at epsilon_high itself, and only there
        return 0.0, epsilon_high
    return 1 - epsilon, 1 + epsilon_high


@torch.no_grad()
def measure_tokens(
    part: Tensors,
    logprobs: torch.Tensor,  # (B, C), of the policy
    entropies: torch.Tensor,  # (B, C)
    *,
    limits: tuple[float, float],
) -> dict[int, TokenSums]:
    """Measure the rows of a batch by step type, given as its position in the batch's list."""
    advantages = part["advantages"]
    advantages = advantages[:, None] if advantages.dim() == 1 else advantages
    ratio = torch.exp(logprobs - part.get("old_per_token_logps", logprobs))
    clipped = ((ratio < limits[0]) & (advantages < 0)) | ((ratio > limits[1]) & (advantages > 0))
    measured = {ENTROPY: entropies, CLIPPED: clipped.float()}
    if "ref_per_token_logps" in part:
        gap = part["ref_per_token_logps"] - logprobs
        measured[KL] = (torch.exp(gap) - gap - 1) * ratio  # corrected by the ratio, as TRL does
    found: dict[int, TokenSums] = {}
    for where in sorted(set(cast("list[int]", part["step_type"].tolist()))):
        mask = part["completion_mask"] * (part["step_type"] == where)[:, None]
        tokens = mask.sum().item()
        if where >= 0 and tokens:
            sums = {name: (value * mask).sum().item() for name, value in measured.items()}
            found[where] = TokenSums(tokens, sums)
    return found


def add_sums(parts: Sequence[Mapping[int, TokenSums]]) -> dict[int, TokenSums]:
    """Add up what several processes measured, by step type."""
    found: dict[int, TokenSums] = {}
    for part in parts:
        for where, one in part.items():
            found[where] = found[where] + one if where in found else one
    return found


def by_module(
    sums: Mapping[int, TokenSums], step_types: Sequence[StepType]
) -> dict[str, TokenSums]:
    """Add up the step types of each module."""
    found: dict[str, TokenSums] = {}
    for where, one in sums.items():
        module = step_types[where].module
        found[module] = found[module] + one if module in found else one
    return found


def means_of(sums: TokenSums | None) -> dict[str, float]:
    """Give means over tokens, and how many; nothing where no token was trained on."""
    if sums is None:
        return {}
    means = {name: value / sums.tokens for name, value in sums.values.items()}
    return {"tokens/trained": sums.tokens, **means}


def pool_logged(
    logged: Mapping[str, list[float]], before: Mapping[str, int], tokens: Sequence[float]
) -> None:
    """Make one value of what TRL logged for each of some parts: its means are over tokens.

    Args:
        logged: TRL's lists by metric, changed in place.
        before: How long each list was before the parts.
        tokens: Of each part.
    """
    for name, values in logged.items():
        start = before.get(name, 0)
        parts = [
            (value, count)
            for value, count in zip(values[start:], tokens, strict=False)
            if not math.isnan(value)
        ]
        if len(values) - start != len(tokens) or not parts:
            continue  # not of the loss
        if name.endswith("_min"):
            pooled = min(value for value, _ in parts)
        elif name.endswith("_max"):
            pooled = max(value for value, _ in parts)
        else:
            pooled = sum(v * n for v, n in parts) / max(sum(n for _, n in parts), 1.0)
        values[start:] = [pooled]
