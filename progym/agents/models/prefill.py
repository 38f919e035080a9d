"""Prompts of a batch, computed: what they share once for all rows, equal prompts once each."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from transformers import DynamicCache

from progym.agents.models.kv_buffer import KVBuffer, contents_of
from progym.agents.models.prefixes import SHORTEST, common_prefix
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
    buffer: KVBuffer | None  # what rows have to themselves; None where that is nothing yet
    mask: torch.Tensor | None  # (rows, columns + room), True where a token is or will be
    shared: list[SharedKeys] | None
    """What rows look at beside the buffer and its mask; None for models that can't share."""


def prefill(model: Any, rows: Sequence[Row], keep: Keep) -> Prefilled:
    """Compute the prompts of rows, of which those with equal heads, and prompts, stand together."""
    shared: list[SharedKeys] = []
    logits: list[torch.Tensor] = []
    heads = {row.head: row.head_ids for row in rows}
    for head, wanted in _by_head(rows).items():
        start, prompts = shared[-1].stop if shared else 0, list(wanted)
        parts = _prefill_prefix(model, prompts, heads[head], keep)
        shared += [SharedKeys(part, start, [sum(wanted.values())]) for part in parts]
        length = sum(part[0][0].shape[2] for part in parts)
        keys, found = _prefill_prompts(model, wanted, length, _side_by_side(parts), start)
        shared += keys
        logits += found
    return Prefilled(torch.cat(logits), None, None, shared)


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


def _prefill_prefix(
    model: Any, prompts: Sequence[Prompt], head: Prompt, keep: Keep
) -> list[Layers]:
    """Compute what a batch's prompts share: the head, which is kept, and what comes after it.

    The latter apart, so that the head is the same for rows that join later, and only if it pays.
    """
    length = common_prefix(prompts)
    prefix, is_known = prompts[0][:length], 0 < len(head) <= length
    parts = [keep(head, lambda: _extend(model, head, 0, None))] if is_known else []
    known = len(head) if is_known else 0
    if len(prompts) > 1 and length - known >= SHORTEST:
        parts.append(_extend(model, prefix, known, _side_by_side(parts)))
    return parts


def _side_by_side(parts: Sequence[Layers]) -> Layers | None:
    """Put keys and values of consecutive tokens together; None for none."""
    if len(parts) < 2:
        return parts[0] if parts else None
    return [
        (torch.cat([keys for keys, _ in layer], 2), torch.cat([values for _, values in layer], 2))
        for layer in zip(*parts, strict=True)
    ]


def _extend(model: Any, prefix: Prompt, start: int, before: Layers | None) -> Layers:
    """Compute the keys and values of a prefix's tokens from `start` on, given those before."""
    ids = torch.tensor([prefix[start:]], device=model.device)
    positions = torch.arange(start, len(prefix), device=model.device)[None]
    cache, mask = DynamicCache(), torch.ones_like(ids, dtype=torch.bool)
    run_model(model, ids, positions, cache, shared=Beginning(before, visible(mask)))
    return contents_of(cache)
