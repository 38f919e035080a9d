"""Attention to keys that many rows have in common, kept and read once instead of once for each row.

Prompts of one module begin alike (instruction, form, demos), and prompt search makes that beginning
long. A prompt is computed on top of it; what is drawn, on top of both.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer

from progym.agents.models.shared_keys import KeysValues, SharedKeys, average
from progym.envs.errors import BadValue

NAME = "progym_shared_prefix"
_COLUMNS = 1 << 16
"""Columns of keys, over all rows, that are laid out at once for a layer."""
_NOT_HANDLED = ("position_bias", "softcap", "s_aux", "sliding_window")


@dataclass(frozen=True)
class Beginning:
    """What rows of prompts go on from, and what each of their tokens may see of its own row."""

    layers: Sequence[KeysValues] | None  # by layer, (1, heads, columns, size); None for nothing
    mask: torch.Tensor  # (rows, 1, queries, own columns), False where hidden


@dataclass(frozen=True)
class Step:
    """What rows with one new token look at, and what they may see of their own columns."""

    shared: Sequence[SharedKeys]
    mask: torch.Tensor | None  # (rows, 1, 1, own columns), False where hidden; None for all


@contextmanager
def sharing(model: Any) -> Generator[bool]:
    """Let forward passes take `progym_shared`; gives False for models this does not work for."""
    config = model.config
    before = config._attn_implementation
    if not can_share(model):
        yield False
        return
    config._attn_implementation = NAME
    try:
        yield True
    finally:
        config._attn_implementation = before


def can_share(model: Any) -> bool:
    """Whether a model takes an attention function of ours, and all its layers are plain."""
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
    progym_shared: Beginning | Step,
    **others: Any,
) -> tuple[torch.Tensor, None]:  # (rows, queries, heads, size)
    """Attend to what rows share and to each row's own columns."""
    refuse_unhandled(others)
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    layer = int(module.layer_idx)
    if isinstance(progym_shared, Beginning):
        before = None if progym_shared.layers is None else progym_shared.layers[layer]
        output = _attend_prompt(query, key, value, progym_shared.mask, before)
    else:
        output = _attend_step(query, key, value, progym_shared, layer)
    return output.transpose(1, 2).contiguous(), None


def refuse_unhandled(settings: Mapping[str, Any]) -> None:
    """Raise BadValue for what a model asks of its attention and ours does not do."""
    for name in _NOT_HANDLED:
        if settings.get(name) is not None:
            raise BadValue(f"This model's attention uses {name}, which can't be shared or packed.")


def _attend_prompt(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    shared: KeysValues | None,
) -> torch.Tensor:
    """Attend with many queries a row: torch's fused kernel, the shared part copied to each row."""
    group = query.shape[1] // key.shape[1]
    columns = key.shape[2] + (0 if shared is None else shared[0].shape[2])
    size = max(1, _COLUMNS // columns)
    outputs: list[torch.Tensor] = []
    for start in range(0, len(query), size):
        rows = slice(start, start + size)
        keys, values, visible = key[rows], value[rows], mask[rows]
        if shared is not None:
            wide = (len(keys), -1, -1, -1)
            keys = torch.cat([shared[0].expand(wide), keys], 2)
            values = torch.cat([shared[1].expand(wide), values], 2)
            visible = pad(visible, (shared[0].shape[2], 0), value=True)
        if group > 1:
            keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
        outputs.append(
            scaled_dot_product_attention(query[rows], keys, values, attn_mask=visible, scale=1.0)
        )
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _attend_step(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    step: Step,
    layer: int,
) -> torch.Tensor:
    """Attend with one query a row, to keys that are shared and to the row's own."""
    rows, heads, _, size = query.shape
    grouped = query.view(rows, key.shape[1], -1, size)
    output, weight = average(grouped @ key.transpose(-1, -2), value, step.mask)
    for one in step.shared:
        mine = slice(one.start, one.stop)
        more, more_weight = one.attend(grouped[mine], layer)
        output[mine] = torch.lerp(output[mine], more, torch.sigmoid(more_weight - weight[mine]))
        weight[mine] = torch.logaddexp(weight[mine], more_weight)
    return output.reshape(rows, heads, 1, -1)


AttentionInterface.register(NAME, attend)
