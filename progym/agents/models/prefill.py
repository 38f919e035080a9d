"""Prompts of a batch, computed: what they share once for all rows, equal prompts once each.

A row's own part of its prompt ends at the cache's column that all end at; the columns before it are
masked, and all rows decode into those after it. Positions are given explicitly, so the gap to what
is shared changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, DynamicCache

from progym.agents.models.kv_buffer import KVBuffer, contents_of
from progym.agents.models.last_layer import wanted_only
from progym.agents.models.prefixes import common_prefix
from progym.agents.models.shared_attention import Beginning
from progym.agents.models.shared_keys import KeysValues, SharedKeys, join

_TOKENS = 4096
"""Prompt tokens computed at once; more gains nothing and costs memory."""

Prompt = tuple[int, ...]
Layers = list[KeysValues]
Keep = Callable[[Prompt, Callable[[], Layers]], Layers]
"""Gives what it has kept for some tokens, or computes it."""


def keep_nothing(tokens: Prompt, compute: Callable[[], Layers]) -> Layers:  # noqa: ARG001
    """Compute it anew."""
    return compute()


@dataclass(frozen=True)
class Row:
    """One completion wanted; rows of equal `head` begin alike and share that beginning."""

    prompt: Prompt
    head: Hashable
    seed: int
    head_ids: Prompt = ()
    """What every prompt with this head begins with, whatever the batch; empty if not known."""


@dataclass
class Prefilled:
    """A batch ready to decode; tensors have a row for every sequence."""

    logits: torch.Tensor  # (rows, vocabulary)
    cache: Cache
    columns: int  # of the cache in use
    mask: torch.Tensor | None  # (rows, columns + room), True where a token is or will be
    shared: list[SharedKeys] | None
    """What rows look at beside their cache and its mask; None for models that can't share."""


def prefill(
    model: Any, rows: Sequence[Row], room: int, *, share: bool, keep: Keep = keep_nothing
) -> Prefilled:
    """Compute the prompts of rows, of which those with equal heads, and prompts, stand together."""
    if not share:
        return _prefill_apart(model, rows, room)
    shared: list[SharedKeys] = []
    logits: list[torch.Tensor] = []
    for head, group in _by_head(rows).items():
        start, prompts = shared[-1].stop if shared else 0, list(group)
        length = common_prefix(prompts)
        before = _prefill_prefix(model, prompts[0][:length], head[1], keep) if length else None
        if before is not None:
            shared.append(SharedKeys(before, start, [sum(group.values())]))
        parts: list[SharedKeys] = []
        for chunk in _chunks(prompts, length):
            own = _prefill_chunk(model, chunk, length, before, share=True)
            counts = [group[prompt] for prompt in chunk]
            parts.append(SharedKeys(contents_of(own.cache), start, counts, own.mask[:, None, None]))
            start = parts[-1].stop
            logits += [row.expand(count, -1) for row, count in zip(own.logits, counts, strict=True)]
        shared += join(parts)
    cache = KVBuffer(shared[-1].layers, rows=len(rows), columns=0, room=room).cache()
    return Prefilled(torch.cat(logits), cache, 0, None, shared)


def _prefill_apart(model: Any, rows: Sequence[Row], room: int) -> Prefilled:
    """Compute the prompts of rows for a model that can't share: each row has all keys to itself."""
    places: dict[Prompt, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.prompt, []).append(place)
    columns = max(map(len, places))
    mask = torch.zeros(len(rows), columns + room, dtype=torch.bool, device=model.device)
    mask[:, columns:] = True
    buffer: KVBuffer | None = None
    logits: dict[int, torch.Tensor] = {}
    for chunk in _chunks(list(places), 0):
        own = _prefill_chunk(model, chunk, 0, None, share=False)
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


def run_model(
    model: Any,
    ids: torch.Tensor,  # (rows, queries)
    positions: torch.Tensor,
    cache: Cache,
    *,
    mask: torch.Tensor | None = None,  # (rows, columns), the queries' own included
    shared: Beginning | Sequence[SharedKeys] | None,
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


def _by_head(rows: Sequence[Row]) -> dict[tuple[Hashable, Prompt], dict[Prompt, int]]:
    """Give, head by head, the distinct prompts, and how many rows want each."""
    heads: dict[tuple[Hashable, Prompt], dict[Prompt, int]] = {}
    for row in rows:
        wanted = heads.setdefault((row.head, row.head_ids), {})
        wanted[row.prompt] = wanted.get(row.prompt, 0) + 1
    return heads


def _chunks(prompts: list[Prompt], shared: int) -> Iterator[list[Prompt]]:
    size = max(1, _TOKENS // (max(map(len, prompts)) - shared))
    for start in range(0, len(prompts), size):
        yield prompts[start : start + size]


def _prefill_prefix(model: Any, prefix: Prompt, head: Prompt, keep: Keep) -> Layers:
    """Compute what a batch's prompts share: the head, which is kept, and what comes after it."""
    if not 0 < len(head) <= len(prefix):
        return _extend(model, prefix, 0, None)
    layers = keep(head, lambda: _extend(model, head, 0, None))
    if len(head) == len(prefix):
        return layers
    more = _extend(model, prefix, len(head), layers)
    return [
        (torch.cat([keys, more_keys], 2), torch.cat([values, more_values], 2))
        for (keys, values), (more_keys, more_values) in zip(layers, more, strict=True)
    ]


def _extend(model: Any, prefix: Prompt, start: int, before: Layers | None) -> Layers:
    """Compute the keys and values of a prefix's tokens from `start` on, given those before."""
    ids = torch.tensor([prefix[start:]], device=model.device)
    positions = torch.arange(start, len(prefix), device=model.device)[None]
    cache, mask = DynamicCache(), torch.ones_like(ids, dtype=torch.bool)
    run_model(model, ids, positions, cache, shared=Beginning(before, _visible(mask)))
    return contents_of(cache)


@dataclass
class _Own:
    """The own parts of distinct prompts, a row each."""

    logits: torch.Tensor
    cache: Cache
    mask: torch.Tensor


def _prefill_chunk(
    model: Any,
    prompts: Sequence[Prompt],
    shared: int,
    prefix: Layers | None,
    *,
    share: bool,
) -> _Own:
    count, width = len(prompts), max(map(len, prompts)) - shared
    ids = torch.zeros(count, width, dtype=torch.long)
    positions = torch.zeros(count, width, dtype=torch.long)
    mask = torch.zeros(count, width, dtype=torch.bool)
    for i, prompt in enumerate(prompts):  # all end together, so that one column has the logits
        start = width - (len(prompt) - shared)
        ids[i, start:] = torch.tensor(prompt[shared:])
        positions[i, start:] = torch.arange(shared, len(prompt))
        mask[i, start:] = True
    device, cache = model.device, DynamicCache()
    logits = run_model(
        model,
        ids.to(device),
        positions.to(device),
        cache,
        mask=mask.to(device),
        shared=Beginning(prefix, _visible(mask.to(device))) if share else None,
    )
    return _Own(logits, cache, mask.to(device))


def _visible(mask: torch.Tensor) -> torch.Tensor:
    """Combine padding and causality; (rows, 1, columns, columns)."""
    return mask[:, None, None] & torch.ones_like(mask[0]).expand(mask.shape[1], -1).tril()
