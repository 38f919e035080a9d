"""Prompts of a batch for models that can't share: each row has all of its keys to itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from progym.agents.models.kv_buffer import KVBuffer, contents_of
from progym.agents.models.prefill import Prefilled, Row
from progym.agents.models.prompt_passes import Prompt, compute_prompts, split_prompts


def prefill_apart(model: Any, rows: Sequence[Row], room: int) -> Prefilled:
    """Compute the prompts of rows, equal ones once, and copy them to the rows of one cache."""
    places: dict[Prompt, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.prompt, []).append(place)
    columns = max(map(len, places))
    mask = torch.zeros(len(rows), columns + room, dtype=torch.bool, device=model.device)
    mask[:, columns:] = True
    buffer: KVBuffer | None = None
    logits: dict[int, torch.Tensor] = {}
    for chunk in split_prompts(list(places), 0):
        own = compute_prompts(model, chunk, 0, None, share=False)
        found = contents_of(own.cache)
        buffer = buffer or KVBuffer(found, rows=len(rows), columns=columns, room=room)
        for at, prompt in enumerate(chunk):
            for place in places[prompt]:
                buffer.fill(place, found, at)
                mask[place, columns - own.mask.shape[1] : columns] = own.mask[at]
                logits[place] = own.logits[at]
    assert buffer is not None
    stacked = torch.stack([logits[place] for place in range(len(rows))])
    return Prefilled(stacked, buffer.cache(), columns, mask, None)
