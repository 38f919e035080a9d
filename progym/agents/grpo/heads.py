"""What all rows of a module begin with: computed once, however many trees the rows are cut into.

The trees read its keys and values; what their backward passes leave there goes backward through the
head in one pass at the end, so that a step costs its distinct tokens and keeps one tree at a time.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from progym.agents.models.kv_buffer import contents_of
from progym.agents.models.last_layer import wanted_only
from progym.agents.models.shared_keys import Layers


@dataclass(frozen=True)
class Head:
    """Tokens that rows begin with, and their keys and values by layer; none by default."""

    token_ids: tuple[int, ...] = ()
    layers: Layers | None = None

    def cache(self) -> DynamicCache:
        """Give a cache that begins with the head, which it does not change."""
        cache = DynamicCache()
        for index, (keys, values) in enumerate(self.layers or ()):
            cache.update(keys, values, index)
        return cache


NO_HEAD = Head()


@contextmanager
def computed_head(model: Any, token_ids: Sequence[int]) -> Generator[Head]:
    """Compute a head for the trees scored until this ends; then go backward into it."""
    if not token_ids:
        yield NO_HEAD
        return
    cache = DynamicCache()
    ids = torch.tensor([list(token_ids)], device=model.device)
    with wanted_only(model, ids.new_tensor([ids.shape[1] - 1])):
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    computed = contents_of(cache)
    learns = torch.is_grad_enabled()
    layers = [tuple(part.detach().requires_grad_(learns) for part in pair) for pair in computed]
    yield Head(tuple(token_ids), layers)  # pyright: ignore[reportArgumentType]
    pairs = [
        (tensor, leaf.grad)
        for whole, leaves in zip(computed, layers, strict=True)
        for tensor, leaf in zip(whole, leaves, strict=True)
        if leaf.grad is not None and tensor.requires_grad
    ]
    if pairs:
        torch.autograd.backward([tensor for tensor, _ in pairs], [grad for _, grad in pairs])
