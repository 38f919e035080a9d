"""Large linear layers through oneDNN on a CPU, where torch takes MKL for single precision.

On AMD's processors that takes 0.6 to 0.9 of the time for layers from 512 x 512 on; small ones lose.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear

_SMALLEST = 1 << 18
"""Weights of a layer that gains."""
# Torch's compiler writes these two calls, too; there is no public way.
_linear: Any = torch.ops.mkldnn._linear_pointwise
_reorder: Any = torch.ops.mkldnn._reorder_linear_weight

Forward = Callable[[torch.Tensor], torch.Tensor]


def gains(weight: torch.Tensor) -> bool:
    """Tell whether a product with a layer's weight, (out, in), is faster this way."""
    return (
        torch.backends.mkldnn.is_available()
        and weight.device.type == "cpu"
        and weight.dtype is torch.float32
        and weight.numel() >= _SMALLEST
    )


def product(
    given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Give what a linear layer gives, the faster way; carries no gradient."""
    if not gains(weight):
        return linear(given, weight, bias)
    return _multiply(given, weight, bias)


def packed_product(weight: torch.Tensor, bias: torch.Tensor | None) -> Forward:
    """Give the product with a copy of a weight that gains, laid out for it once."""
    return partial(_multiply, weight=_reorder(weight, None), bias=bias)


@contextmanager
def replaced(forwards: Mapping[Any, Forward]) -> Generator[None]:
    """Have layers computed by other functions."""
    for layer, forward in forwards.items():
        layer.forward = forward
    try:
        yield
    finally:
        for layer in forwards:
            del layer.forward


def _multiply(given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return _linear(given.contiguous(), weight, bias, "none", [], "")
