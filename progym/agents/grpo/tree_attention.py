"""Attention in a tree of tokens: each sees those on the way to it from the root, and no others.

Laid out depth first, all tokens that see a node stand right behind it. So there are two products
for each node, with the tokens below it and within it, and their softmaxes are merged exactly: no
product is computed that a mask would hide. Float arithmetic is that of torch's fused kernel.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from transformers import AttentionInterface

from progym.agents.models.shared_attention import can_share
from progym.envs.errors import BadValue

NAME = "progym_tree"
_NOT_HANDLED = ("position_bias", "softcap", "s_aux", "sliding_window")
_forward: Any = (
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
)  # no public one gives logsumexp
_backward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

Node = tuple[int, int, int]
"""A stretch of tokens without a branch: where it starts, stops, and where its subtree ends."""


def nodes_of(ends: Sequence[int]) -> list[Node]:
    """Find the nodes of a layout, given where the subtree of each token ends."""
    nodes: list[Node] = []
    start = 0
    for end, run in groupby(ends):
        stop = start + len(list(run))
        nodes.append((start, stop, end))
        start = stop
    return nodes


@contextmanager
def tree_attention(model: Any) -> Generator[bool]:
    """Let forward passes take `progym_tree`; gives False for models this does not work for."""
    if model.device.type != "cpu" or not can_share(model):
        yield False
        return
    config = model.config
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield True
    finally:
        config._attn_implementation = before


class _TreeAttention(torch.autograd.Function):
    """Queries, keys and values are (1, heads, tokens, size)."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, nodes: Sequence[Node], scale: float) -> Any:
        output = torch.empty_like(q)
        sums = torch.empty(q.shape[:3], dtype=torch.promote_types(q.dtype, torch.float32))
        for start, stop, _ in nodes:
            own = slice(start, stop)
            output[:, :, own], sums[:, :, own] = _forward(
                q[:, :, own], k[:, :, own], v[:, :, own], 0.0, True, scale=scale
            )
        for start, stop, end in nodes:
            if stop < end:
                own, below = slice(start, stop), slice(stop, end)
                more, more_sums = _forward(
                    q[:, :, below], k[:, :, own], v[:, :, own], 0.0, False, scale=scale
                )
                weight = torch.sigmoid(more_sums - sums[:, :, below])[..., None].to(q.dtype)
                output[:, :, below] = torch.lerp(output[:, :, below], more, weight)
                sums[:, :, below] = torch.logaddexp(sums[:, :, below], more_sums)
        ctx.save_for_backward(q, k, v, output, sums)
        ctx.nodes, ctx.scale = nodes, scale
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        q, k, v, output, sums = ctx.saved_tensors
        grad = grads[0].contiguous()
        found = [torch.zeros_like(part) for part in (q, k, v)]

        def add(seeing: slice, seen: slice, causal: bool) -> None:
            # With the sums over all nodes, each product's gradient is the whole's share.
            parts = _backward(
                grad[:, :, seeing],
                q[:, :, seeing],
                k[:, :, seen],
                v[:, :, seen],
                output[:, :, seeing],
                sums[:, :, seeing],
                0.0,
                causal,
                scale=ctx.scale,
            )
            for total, part, place in zip(found, parts, (seeing, seen, seen), strict=True):
                total[:, :, place] += part

        for start, stop, end in ctx.nodes:
            own = slice(start, stop)
            add(own, own, causal=True)
            if stop < end:
                add(slice(stop, end), own, causal=False)
        return (*found, None, None)


def attend(
    module: Any,  # noqa: ARG001
    query: torch.Tensor,  # (1, heads, tokens, size)
    key: torch.Tensor,  # (1, key heads, tokens, size)
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - `progym_tree` has it
    *,
    scaling: float | None = None,
    progym_tree: Sequence[Node],
    **others: Any,
) -> tuple[torch.Tensor, None]:  # (1, tokens, heads, size)
    """Attend along the ways of a tree."""
    for name in _NOT_HANDLED:
        if others.get(name) is not None:
            raise BadValue(f"This model's attention uses {name}; it can't be packed as trees.")
    group = query.shape[1] // key.shape[1]
    if group > 1:
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    output = _TreeAttention.apply(query, key, value, progym_tree, scale)
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)
