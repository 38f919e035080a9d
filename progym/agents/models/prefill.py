"""Prompts of a batch, computed: what they share once for all rows, equal prompts once each."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from transformers import DynamicCache

from progym.agents.models.kv_buffer import KVBuffer, contents_of
from progym.agents.models.prefixes import common_prefix
from progym.agents.models.prompt_passes import (
    Prompt,
    compute_prompts,
    run_model,
    split_prompts,
    visible,
)
from progym.agents.models.shared_attention import Beginning
from progym.agents.models.shared_keys import Layers, SharedKeys, join

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
    buffer: KVBuffer  # with room to decode into
    mask: torch.Tensor | None  # (rows, columns + room), True where a token is or will be
    shared: list[SharedKeys] | None
    """What rows look at beside the buffer and its mask; None for models that can't share."""


def prefill(model: Any, rows: Sequence[Row], room: int, keep: Keep = keep_nothing) -> Prefilled:
    """Compute the prompts of rows, of which those with equal heads, and prompts, stand together."""
    shared: list[SharedKeys] = []
    logits: list[torch.Tensor] = []
    heads = {row.head: row.head_ids for row in rows}
    for head, wanted in _by_head(rows).items():
        start, prompts = shared[-1].stop if shared else 0, list(wanted)
        length = common_prefix(prompts)
        before = _prefill_prefix(model, prompts[0][:length], heads[head], keep) if length else None
        if before is not None:
            shared.append(SharedKeys(before, start, [sum(wanted.values())]))
        keys, found = _prefill_prompts(model, wanted, length, before, start)
        shared += keys
        logits += found
    buffer = KVBuffer(shared[-1].layers, rows=len(rows), columns=0, room=room)
    return Prefilled(torch.cat(logits), buffer, None, shared)


def _prefill_prompts(
    model: Any, wanted: Mapping[Prompt, int], length: int, before: Layers | None, start: int
) -> tuple[list[SharedKeys], list[torch.Tensor]]:
    """Compute what prompts add to their beginning, those that about as many rows want together.

    Args:
        model: A causal LM.
        wanted: The prompts, and how many rows want each.
        length: Of the beginning.
        before: Its keys and values.
        start: The first of the rows.
    """
    shared: list[SharedKeys] = []
    logits: list[torch.Tensor] = []
    for _, alike in groupby(wanted, key=lambda prompt: about(wanted[prompt])):
        parts: list[SharedKeys] = []
        for chunk in split_prompts(list(alike), length, model.device):
            own = compute_prompts(model, chunk, length, before)
            counts = [wanted[prompt] for prompt in chunk]
            parts.append(SharedKeys(contents_of(own.cache), start, counts, own.mask[:, None, None]))
            start = parts[-1].stop
            logits += [row.expand(count, -1) for row, count in zip(own.logits, counts, strict=True)]
        shared += join(parts)
    return shared, logits


def about(count: int) -> int:
    """Give the order of size of a number of rows: 1, 2 to 3, 4 to 7 and so on are alike."""
    return count.bit_length()


def _by_head(rows: Sequence[Row]) -> dict[Hashable, dict[Prompt, int]]:
    """Give, head by head, the distinct prompts, and how many rows want each."""
    heads: dict[Hashable, dict[Prompt, int]] = {}
    for row in rows:
        wanted = heads.setdefault(row.head, {})
        wanted[row.prompt] = wanted.get(row.prompt, 0) + 1
    return heads


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
    run_model(model, ids, positions, cache, shared=Beginning(before, visible(mask)))
    return contents_of(cache)
