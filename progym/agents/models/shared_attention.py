"""Attention to keys that many rows have in common, kept and read once instead of once for each row.

Prompts of one module begin alike (instruction, form, demos), and prompt search makes that beginning
long. Every query attends to the shared part in one product for all rows, to its row's own
columns in another, and the two softmaxes are merged exactly.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer

from progym.envs.errors import BadValue

NAME = "progym_shared_prefix"
_SCORES = 1 << 23
"""Attention scores held at once in a layer."""
_NOT_HANDLED = ("position_bias", "softcap", "s_aux", "sliding_window")

KeysValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Segment:
    """Consecutive rows of a batch, and the keys and values they share; None for nothing."""

    rows: int
    layers: Sequence[KeysValues] | None  # by layer, (1, heads, prefix, size)


@dataclass(frozen=True)
class Shared:
    """What a forward pass knows beyond its cache: the segments, and each row's visible columns."""

    segments: Sequence[Segment]
    mask: torch.Tensor | None  # (rows, 1, queries, own columns), False where hidden


@contextmanager
def sharing(model: Any) -> Generator[bool]:
    """Let forward passes take `progym_shared`; gives False for models this does not work for."""
    config = model.config
    before = config._attn_implementation
    if not _can_share(model):
        yield False
        return
    config._attn_implementation = NAME
    try:
        yield True
    finally:
        config._attn_implementation = before


def _can_share(model: Any) -> bool:
    if not type(_plain(model)).is_backend_compatible():
        return False
    if model.config._attn_implementation != "sdpa":
        return False
    layers = DynamicCache(config=model.config).layers
    return all(type(layer) is DynamicLayer for layer in layers)


def _plain(model: Any) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def attend(
    module: Any,
    query: torch.Tensor,  # (rows, heads, queries, size)
    key: torch.Tensor,  # (rows, key heads, own columns, size)
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - `progym_shared` has it
    *,
    scaling: float | None = None,
    progym_shared: Shared,
    **others: Any,
) -> tuple[torch.Tensor, None]:  # (rows, queries, heads, size)
    """Attend to what a segment shares and to each row's own columns."""
    for name in _NOT_HANDLED:
        if others.get(name) is not None:
            raise BadValue(f"This model's attention uses {name}; prompts can't be shared in it.")
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    outputs: list[torch.Tensor] = []
    start, index = 0, int(module.layer_idx)
    for segment in progym_shared.segments:
        rows = slice(start, start + segment.rows)
        start += segment.rows
        mask = None if progym_shared.mask is None else progym_shared.mask[rows]
        layer = None if segment.layers is None else segment.layers[index]
        if layer is None and query.shape[2] > 1:
            outputs.append(_attend_to_own(query[rows], key[rows], value[rows], mask))
        else:
            outputs.append(_attend_in_blocks(query[rows], key[rows], value[rows], mask, layer))
    output = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return output.transpose(1, 2).contiguous(), None


def _attend_to_own(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Attend to own columns only, in torch's fused kernel."""
    group = query.shape[1] // key.shape[1]
    if group > 1:
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)


def _attend_in_blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    shared: KeysValues | None,
) -> torch.Tensor:
    """Attend a block of queries at a time: all scores at once would fill the memory."""
    columns = key.shape[2] + (0 if shared is None else shared[0].shape[2])
    size = max(1, _SCORES // (query.shape[0] * query.shape[1] * columns))
    blocks: list[torch.Tensor] = []
    for start in range(0, query.shape[2], size):
        part = slice(start, start + size)
        block_mask = None if mask is None else mask[:, :, part]
        blocks.append(_attend(query[:, :, part], key, value, block_mask, shared))
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, 2)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    shared: KeysValues | None,
) -> torch.Tensor:
    rows, heads, queries, size = query.shape
    key_heads = key.shape[1]
    group = heads // key_heads
    grouped = query.reshape(rows, key_heads, group * queries, size)
    scores = grouped @ key.transpose(-1, -2)
    if mask is not None:
        parts = scores.view(rows, key_heads, group, queries, -1)
        # A padding query sees nothing; the least number, unlike -inf, keeps its output finite.
        parts.masked_fill_(~mask[:, :, None], torch.finfo(scores.dtype).min)
    output, total, top = _unnormalized(scores, value)
    if shared is not None:
        # All rows' queries together, against keys that stand there once.
        pooled = grouped.transpose(0, 1).reshape(key_heads, -1, size)
        more = _unnormalized(pooled @ shared[0][0].transpose(-1, -2), shared[1][0])
        shape = (key_heads, rows, group * queries, -1)
        output2, total2, top2 = (part.view(shape).transpose(0, 1) for part in more)
        most = torch.maximum(top, top2)
        own_weight, shared_weight = (top - most).exp_(), (top2 - most).exp_()
        output = output * own_weight + output2 * shared_weight
        total = total * own_weight + total2 * shared_weight
    return (output / total).view(rows, heads, queries, value.shape[-1])


def _unnormalized(
    scores: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weigh values by exp(score - top); gives the sum, the weights' total, and the top score."""
    top = scores.amax(-1, keepdim=True)
    weights = scores.sub_(top).exp_()
    return weights @ values, weights.sum(-1, keepdim=True), top


AttentionInterface.register(NAME, attend)
