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
    logits: list[torch.Tensor] = []
    order: list[int] = []
    for chunk in split_prompts(list(places), 0, model.device):
        own = compute_prompts(model, chunk, 0, None, share=False)
        pairs = [(place, at) for at, prompt in enumerate(chunk) for place in places[prompt]]
        to, sources = [place for place, _ in pairs], [at for _, at in pairs]
        found = contents_of(own.cache)
        buffer = buffer or KVBuffer(found, rows=len(rows), columns=columns, room=room)
        buffer.fill(to, found, sources)
        mask[to, columns - own.mask.shape[1] : columns] = own.mask[sources]
        logits.append(own.logits[sources])
        order += to
    assert buffer is not None
    return Prefilled(torch.cat(logits)[torch.tensor(order).argsort()], buffer, mask, None)
