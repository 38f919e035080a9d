"""Forward passes for sampling: prompts side by side, or one token for each row.

Prompts computed together end at the same column, those before a shorter one are masked. Positions
are given explicitly, so the gap to what is shared changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, DynamicCache

from progym.agents.models.last_layer import wanted_only
from progym.agents.models.shared_attention import Beginning, Step
from progym.agents.models.shared_keys import Layers

_TOKENS = {"cpu": 1024, "cuda": 4096}
"""Prompt tokens computed at once; more gains nothing, pads more and costs memory."""

Prompt = tuple[int, ...]


def run_model(
    model: Any,
    ids: torch.Tensor,  # (rows, queries)
    positions: torch.Tensor,
    cache: Cache,
    *,
    mask: torch.Tensor | None = None,  # (rows, columns), the queries' own included
    shared: Beginning | Step | None,
) -> torch.Tensor:
    """Compute tokens on top of a cache; gives the last one's logits, (rows, vocabulary)."""
    seen = {"attention_mask": mask} if shared is None else {"progym_shared": shared}
    last = torch.tensor([ids.shape[1] - 1], device=ids.device)
    with wanted_only(model, last) if ids.shape[1] > 1 else nullcontext():
        output = model(
            input_ids=ids,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **seen,
        )
    return output.logits[:, -1].float()


def split_prompts(
    prompts: Sequence[Prompt], shared: int, device: torch.device
) -> Iterator[list[Prompt]]:
    """Split prompts, all of which begin with the `shared` tokens, into those computed at once."""
    most = _TOKENS.get(device.type, _TOKENS["cpu"])
    chunk: list[Prompt] = []
    longest = 0
    for prompt in prompts:
        longest = max(longest, len(prompt) - shared)
        if chunk and (len(chunk) + 1) * longest > most:
            yield chunk
            chunk, longest = [], len(prompt) - shared
        chunk.append(prompt)
    yield chunk


@dataclass
class Computed:
    """The own parts of distinct prompts, a row each."""

    logits: torch.Tensor
    cache: Cache
    mask: torch.Tensor


def compute_prompts(
    model: Any,
    prompts: Sequence[Prompt],
    shared: int,
    prefix: Layers | None,
    *,
    share: bool = True,
) -> Computed:
    """Compute distinct prompts on top of what they share, or whole for models that can't."""
    count, width = len(prompts), max(map(len, prompts)) - shared
    ids = torch.zeros(count, width, dtype=torch.long)
    positions = torch.zeros(count, width, dtype=torch.long)
    mask = torch.zeros(count, width, dtype=torch.bool)
    for i, prompt in enumerate(prompts):  # all end together, so that one column has the logits
        start = width - (len(prompt) - shared)
        ids[i, start:] = torch.tensor(prompt[shared:])
        positions[i, start:] = torch.arange(shared, len(prompt))
        mask[i, start:] = True
    ids, positions, mask = (part.to(model.device) for part in (ids, positions, mask))
    cache, beginning = DynamicCache(), Beginning(prefix, visible(mask)) if share else None
    logits = run_model(model, ids, positions, cache, mask=mask, shared=beginning)
    return Computed(logits, cache, mask)


def visible(mask: torch.Tensor) -> torch.Tensor:
    """Combine padding and causality; (rows, 1, columns, columns)."""
    return mask[:, None, None] & torch.ones_like(mask[0]).expand(mask.shape[1], -1).tril()
