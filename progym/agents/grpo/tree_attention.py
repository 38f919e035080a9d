"""Attention in a tree of tokens: each sees those on the way to it from the root, and no others.

Laid out depth first, all tokens that see a node stand right behind it. So there are two products
for each node, within it and with the tokens below it, and those with the head that all begin with;
their softmaxes are merged exactly, and no product is computed that a mask would hide. The
arithmetic is that of torch's fused kernel.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, cast

import torch
from transformers import AttentionInterface

from progym.agents.models.shared_attention import can_share, refuse_unhandled

NAME = "progym_tree"
# No public one gives the log of the softmax's sum.
_forward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

Node = tuple[int, int, int]
"""A stretch of tokens without a branch: where it starts, stops, and where its subtree ends."""

Product = tuple[slice, slice, bool]
"""Which queries see which keys, and whether they are the same tokens, of which each sees its past.
"""


def nodes_of(ends: Sequence[int]) -> list[Node]:
    """Find the nodes of a layout, given where the subtree of each token ends."""
    nodes: list[Node] = []
    start = 0
    for end, run in groupby(ends):
        stop = start + len(list(run))
        nodes.append((start, stop, end))
        start = stop
    return nodes


def _products(nodes: Sequence[Node], head: int) -> list[Product]:
    """List who sees what, where `head` keys stand before those of the tree.

    What is below the first node sees the head with it: their keys stand side by side.
    """
    found: list[Product] = []
    for start, stop, _ in nodes:
        found.append((slice(start, stop), slice(head + start, head + stop), True))
    for start, stop, end in nodes:
        if stop < end:
            first = head + start if start else 0
            found.append((slice(stop, end), slice(first, head + stop), False))
    if head:
        _, stop, end = nodes[0]
        for seeing in (slice(0, stop), slice(end, nodes[-1][1])):
            if seeing.start < seeing.stop:
                found.append((seeing, slice(0, head), False))
    return found


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
    """Queries are (1, heads, tokens, size); keys and values have the head's columns before them."""

    @staticmethod
    def forward(
        ctx: Any, q: Any, k: Any, v: Any, products: Sequence[Product], scale: float
    ) -> torch.Tensor:
        output = torch.empty_like(q)
        sums = torch.empty(q.shape[:3], dtype=torch.promote_types(q.dtype, torch.float32))
        for seeing, seen, own in products:
            more, more_sums = _forward(
                q[:, :, seeing], k[:, :, seen], v[:, :, seen], 0.0, own, scale=scale
            )
            if own:  # a node's own product comes first
                output[:, :, seeing], sums[:, :, seeing] = more, more_sums
                continue
            weight = torch.sigmoid(more_sums - sums[:, :, seeing])[..., None].to(q.dtype)
            output[:, :, seeing] = torch.lerp(output[:, :, seeing], more, weight)
            sums[:, :, seeing] = torch.logaddexp(sums[:, :, seeing], more_sums)
        ctx.save_for_backward(q, k, v, output, sums)
        ctx.products, ctx.scale = products, scale
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        q, k, v, output, sums = ctx.saved_tensors
        grad = grads[0].contiguous()
        found = [torch.zeros_like(part) for part in (q, k, v)]
        for seeing, seen, own in ctx.products:
            # With the sums over all products, each one's gradient is its share of the whole's.
            parts = _backward(
                grad[:, :, seeing],
                q[:, :, seeing],
                k[:, :, seen],
                v[:, :, seen],
                output[:, :, seeing],
                sums[:, :, seeing],
                0.0,
                own,
                scale=ctx.scale,
            )
            for total, part, place in zip(found, parts, (seeing, seen, seen), strict=True):
                total[:, :, place] += part
        return (*found, None, None)


def attend(
    module: Any,  # noqa: ARG001
    query: torch.Tensor,  # (1, heads, tokens, size)
    key: torch.Tensor,  # (1, key heads, head and tokens, size)
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - `progym_tree` has it
    *,
    scaling: float | None = None,
    progym_tree: Sequence[Node],
    **others: Any,
) -> tuple[torch.Tensor, None]:  # (1, tokens, heads, size)
    """Attend along the ways of a tree."""
    refuse_unhandled(others)
    group = query.shape[1] // key.shape[1]
    if group > 1:
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    products = _products(progym_tree, key.shape[2] - query.shape[2])
    output = cast("torch.Tensor", _TreeAttention.apply(query, key, value, products, scale))
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)
