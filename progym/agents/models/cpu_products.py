"""Linear layers through oneDNN on a CPU, where torch takes MKL for single precision.

On AMD processors that takes 0.6 to 0.9 of the time where there is much to multiply; else it loses.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear

_WEIGHTS, _PRODUCTS = 1 << 18, 1 << 23
"""How many a layer must have to gain with a few tokens, and a product to gain with many."""
# Torch's compiler writes these two calls, too; there is no public way.
_linear: Any = torch.ops.mkldnn._linear_pointwise
_reorder: Any = torch.ops.mkldnn._reorder_linear_weight

Forward = Callable[[torch.Tensor], torch.Tensor]


def gains(weight: torch.Tensor) -> bool:
    """Tell whether even few tokens are multiplied faster with a layer's weight, (out, in)."""
    return takes(weight) and weight.numel() >= _WEIGHTS


def takes(weight: torch.Tensor) -> bool:
    """Tell whether products with a weight can be done this way."""
    return (
        torch.backends.mkldnn.is_available()
        and weight.device.type == "cpu"
        and weight.dtype is torch.float32
    )


def product(
    given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Give what a linear layer gives, the faster way; carries no gradient."""
    products = given.numel() * weight.shape[0]
    if takes(weight) and (products >= _PRODUCTS or weight.numel() >= _WEIGHTS):
        return _multiply(given, weight, bias)
    return linear(given, weight, bias)


def packed_product(weight: torch.Tensor, bias: torch.Tensor | None) -> Forward:
    """Give the product with a copy of a weight that gains, laid out for it once."""
    return partial(_multiply, weight=_reorder(weight, None), bias=bias)


@contextmanager
def replaced(forwards: Mapping[Any, Forward]) -> Generator[None]:
    """Have layers computed by other functions; they may be replaced already."""
    before: dict[Any, Forward | None] = {layer: vars(layer).get("forward") for layer in forwards}
    for layer, forward in forwards.items():
        layer.forward = forward
    try:
        yield
    finally:
        for layer, forward in before.items():
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward


def _multiply(given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return _linear(given.contiguous(), weight, bias, "none", [], "")
