"""Log-probabilities of tokens, and entropies, from logits: one operation instead of six.

Logits are read a few rows at a time, so that all passes after the first find them in the
processor's cache; kept for the backward pass is one value for each logit.
"""

from __future__ import annotations

from typing import Any, cast

import torch

_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 26}
"""Logits worked on at once."""


def score_tokens(
    logits: torch.Tensor,  # (N, V)
    rows: torch.Tensor,  # (tokens,), which of the N predicts each
    labels: torch.Tensor,  # (tokens,)
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give tokens' log-probabilities, and the entropies where they were drawn, without gradient.

    Both in single precision at least; (tokens,).
    """
    logprobs, entropies = cast("Any", _TokenScores.apply(logits, rows, labels, temperature))
    return logprobs, entropies[rows]


class _TokenScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, rows: torch.Tensor, labels: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        exact = torch.promote_types(logits.dtype, torch.float32)
        chances = torch.empty_like(logits, dtype=exact)
        tops, shares = chances.new_empty(2, len(logits))
        entropies = torch.empty_like(tops)
        size = max(1, _AT_ONCE.get(logits.device.type, _AT_ONCE["cpu"]) // logits.shape[1])
        for start in range(0, len(logits), size):
            part = slice(start, start + size)
            scaled = logits[part].to(exact)
            scaled = scaled if temperature == 1 else scaled / temperature
            found = torch.softmax(scaled, -1, out=chances[part])
            tops[part] = scaled.amax(-1)
            # The fused softmax keeps its sum to itself, but the largest chance is exp(0) / sum.
            shares[part] = found.amax(-1).log()
            # Terms of one sign, and small ones: large logits would take digits from the sum.
            below = tops[part, None] - scaled
            entropies[part] = (found[:, None] @ below[:, :, None])[:, 0, 0] - shares[part]
        logprobs = logits[rows, labels].to(exact) / temperature - tops[rows] + shares[rows]
        ctx.save_for_backward(chances, rows, labels)
        ctx.temperature, ctx.dtype = temperature, logits.dtype
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        chances, rows, labels = ctx.saved_tensors
        grad = grads[0] / ctx.temperature
        of_rows = grad.new_zeros(len(chances)).index_add_(0, rows, grad)
        found = chances.mul_(-of_rows[:, None])  # in place: torch refuses a second backward pass
        found.index_put_((rows, labels), grad, accumulate=True)
        return found.to(ctx.dtype), None, None, None
