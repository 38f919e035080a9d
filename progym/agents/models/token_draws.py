"""Drawing tokens by their chances, each row with a number of its own.

torch.multinomial is 15 times slower and draws from a global stream. One sum over the vocabulary in
double precision is a tensor larger than the logits, so a block of tokens is sought first.
"""

from __future__ import annotations

import torch

from progym.envs.errors import BadValue

_BLOCK = 256
"""Tokens in a block."""


def choose_tokens(
    logits: torch.Tensor, uniforms: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pick a token for each row, at temperature 0 the likeliest.

    Gives ids and log-probabilities, (rows,); raises BadValue for logits that are not numbers.
    """
    scaled = logits if temperature in (0, 1) else logits / temperature
    chances = scaled.softmax(-1)
    tokens = logits.argmax(-1) if temperature == 0 else draw_tokens(chances, uniforms)
    chosen = chances.gather(1, tokens[:, None])[:, 0].log()
    if not bool(chosen.isfinite().all()):
        raise BadValue("The model's logits are not numbers: its weights or its adapter are broken.")
    return tokens, chosen


def draw_tokens(chances: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Find where the sum of chances passes a share of the whole; (rows,).

    Args:
        chances: (rows, vocabulary), in any scale.
        uniforms: (rows,), in [0, 1).
    """
    vocabulary = chances.shape[1]
    whole = vocabulary - vocabulary % _BLOCK
    blocks = chances[:, :whole].view(len(chances), whole // _BLOCK, _BLOCK)
    rest = chances[:, whole:].sum(-1, keepdim=True)
    sums = torch.cat([blocks.sum(-1), rest], 1).double().cumsum(-1)
    points = uniforms[:, None] * sums[:, -1:]
    block = _passed(sums, points)
    before = torch.nn.functional.pad(sums, (1, 0)).gather(1, block)
    tokens = block * _BLOCK + torch.arange(_BLOCK, device=chances.device)
    inside = chances.gather(1, tokens.clamp(max=vocabulary - 1)).double()
    sums = inside.masked_fill_(tokens >= vocabulary, 0.0).cumsum(-1)
    found = tokens.gather(1, _passed(sums, points - before))
    return found[:, 0].clamp_(max=vocabulary - 1)


def _passed(sums: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Give the first place whose sum is above a row's point; rounding moves none past the end.

    So no token without a chance is found.
    """
    ends = sums[:, -1:]
    points = torch.minimum(points, torch.nextafter(ends, torch.zeros_like(ends)))
    return torch.searchsorted(sums, points, right=True).clamp_(max=sums.shape[1] - 1)
