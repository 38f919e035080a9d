"""Tokens that a teacher drew, weighed by how much likelier the student was to draw them.

Truncated importance sampling for each token, as TRL does it for a sampler of its own (its
`importance_sampling_ratio`): losses are proportional to advantages, so the weight goes there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def weigh_tokens(
    advantages: torch.Tensor,  # (B,)
    student: torch.Tensor,  # (b, C), log-probabilities of the taught rows
    drawn: Sequence[Sequence[float]],
    *,
    taught: Sequence[int],
    width: int,
    cap: float,
) -> tuple[torch.Tensor, list[float]]:
    """Give advantages by token, (B, width), and the weights of all taught tokens.

    Args:
        advantages: One for each row.
        student: What the student would have drawn the taught rows' tokens at.
        drawn: What each taught row's tokens were drawn at, as long as its completion.
        taught: Where the taught rows stand among all.
        width: Of the padded completions.
        cap: The largest weight.
    """
    weights = torch.ones(len(advantages), width, dtype=student.dtype, device=student.device)
    found: list[float] = []
    for row, (place, logps) in enumerate(zip(taught, drawn, strict=True)):
        own = student[row, : len(logps)]
        ratio = torch.exp(own - torch.tensor(logps, dtype=own.dtype, device=own.device))
        weights[place, : len(logps)] = ratio.clamp(max=cap)
        found += weights[place, : len(logps)].tolist()
    return advantages[:, None].to(weights.dtype) * weights, found
