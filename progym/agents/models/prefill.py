"""Prompts of a batch, computed: what they share once for all rows, equal prompts once each.

A row's own part of its prompt ends at the cache's column that all end at; the columns before it are
masked, and all rows decode into those after it. Positions are given explicitly, so the gap to what
is shared changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, DynamicCache

from progym.agents.models.kv_buffer import KVBuffer, contents_of
from progym.agents.models.prefixes import common_prefix
from progym.agents.models.shared_attention import KeysValues, Segment, Shared

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
    mask: torch.Tensor  # (rows, columns + room), True where a token is or will be
    segments: list[Segment] | None  # None for models that can't share
    columns: int  # columns in use


def prefill(
    model: Any, rows: Sequence[Row], room: int, *, share: bool, keep: Keep = keep_nothing
) -> Prefilled:
    """Compute the prompts of rows, of which those with equal heads stand together."""
    groups = list(_by_head(rows))
    heads = {row.head: row.head_ids for row in rows}
    shared = [common_prefix(list(group)) if share else 0 for group in groups]
    columns = max(
        max(map(len, group)) - length for group, length in zip(groups, shared, strict=True)
    )
    buffer = KVBuffer(len(rows), columns, room)
    mask = torch.zeros(len(rows), columns + room, dtype=torch.bool, device=model.device)
    mask[:, columns:] = True
    logits: torch.Tensor | None = None
    segments: list[Segment] = []
    for group, length, head in zip(groups, shared, heads.values(), strict=True):
        prefix = _prefill_prefix(model, next(iter(group))[:length], head, keep) if length else None
        segments.append(Segment(sum(map(len, group.values())), prefix))
        for chunk in _chunks(list(group), length):
            own = _prefill_chunk(model, chunk, length, prefix, share=share)
            pairs = [(row, at) for at, prompt in enumerate(chunk) for row in group[prompt]]
            to, sources = [row for row, _ in pairs], [at for _, at in pairs]
            if logits is None:
                logits = own.logits.new_empty(len(rows), own.logits.shape[1])
            logits[to] = own.logits[sources]
            mask[to, columns - own.mask.shape[1] : columns] = own.mask[sources]
            buffer.fill(to, own.cache, sources)
    assert logits is not None
    return Prefilled(logits, buffer.cache(), mask, segments if share else None, columns)


def run_model(
    model: Any,
    ids: torch.Tensor,  # (rows, queries)
    positions: torch.Tensor,
    cache: Cache,
    *,
    mask: torch.Tensor,  # (rows, columns), the queries' own included
    segments: Sequence[Segment] | None,
) -> torch.Tensor:
    """Compute tokens on top of a cache; gives the last one's logits, (rows, vocabulary)."""
    extra: dict[str, Any] = {"attention_mask": mask}
    if segments is not None:
        extra = {"progym_shared": Shared(segments, _visible(mask, ids.shape[1]))}
    output = model(
        input_ids=ids,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
        **extra,
    )
    return output.logits[:, -1].float()


def _visible(mask: torch.Tensor, queries: int) -> torch.Tensor | None:
    """Combine padding and causality; (rows, 1, queries, columns), None where nothing is hidden."""
    if queries == 1:
        return None if bool(mask.all()) else mask[:, None, None]
    order = torch.arange(mask.shape[1], device=mask.device)
    causal = order[None, :] <= order[-queries:, None]
    return mask[:, None, None] & causal


def _by_head(rows: Sequence[Row]) -> Iterator[dict[Prompt, list[int]]]:
    """Give, head by head, the distinct prompts and the rows that want each."""
    heads: dict[Hashable, dict[Prompt, list[int]]] = {}
    for i, row in enumerate(rows):
        heads.setdefault(row.head, {}).setdefault(row.prompt, []).append(i)
    yield from heads.values()


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
    cache = DynamicCache()
    mask = torch.ones_like(ids, dtype=torch.bool)
    run_model(model, ids, positions, cache, mask=mask, segments=[Segment(1, before)])
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
        segments=[Segment(count, prefix)] if share else None,
    )
    return _Own(logits, cache, mask.to(device))
