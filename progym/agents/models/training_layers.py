"""Layers for training: frozen weights and the LoRA adapter on them as one operation, and norms.

PEFT's own is several, each of which reads and writes all values of a layer once more. What the
layers give, and the gradients of the adapter, are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch.nn import Identity, Linear, Module

from progym.agents.models.cpu_products import Forward, product, replaced, takes
from progym.agents.models.lora_layers import has_plain_lora
from progym.agents.models.plain_norms import plain_norm


@contextmanager
def training_layers(model: Any) -> Generator[None]:
    """Compute a model's frozen layers, and those with the adapter in use, faster."""
    forwards: dict[Module, Forward] = {}
    for layer in model.modules():
        if type(layer) is Linear and _is_frozen(layer) and takes(layer.weight):
            forwards[layer] = partial(_compute_frozen, layer)
        elif isinstance(layer, LoraLinear) and (adapter := _plain_adapter(layer)):
            forwards[layer] = partial(_compute_adapted, layer, adapter)
        elif norm := plain_norm(layer):
            forwards[layer] = norm
    with replaced(forwards):
        yield


def _is_frozen(layer: Module) -> bool:
    return not any(parameter.requires_grad for parameter in layer.parameters())


def _plain_adapter(layer: Any) -> str | None:
    """Name the one adapter in use, if it is what the paper on LoRA describes and nothing more."""
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return None
    name: str = layer.active_adapters[0]
    if not has_plain_lora(layer, name) or not isinstance(layer.lora_dropout[name], Identity):
        return None
    base = layer.get_base_layer()
    alike = layer.lora_A[name].weight.dtype is base.weight.dtype
    return name if alike and _is_frozen(base) else None


class _Frozen(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return product(given, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (weight,) = ctx.saved_tensors
        return product(grads[0], weight.t()), None, None


class _Adapted(torch.autograd.Function):
    """Values are (tokens, size); computes x W' + b + scale * x A' B'."""

    @staticmethod
    def forward(ctx: Any, given: Any, layer: Any, a: Any, b: Any, scale: float) -> torch.Tensor:
        reduced = given @ a.t()
        ctx.save_for_backward(given, reduced, layer.weight, a, b)
        ctx.scale = scale
        return product(given, layer.weight, layer.bias).addmm_(reduced, b.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        given, reduced, weight, a, b = ctx.saved_tensors
        grad = grads[0]
        of_b = torch.mm(reduced.t(), grad).t().mul_(ctx.scale)
        of_reduced = torch.mm(grad, b).mul_(ctx.scale)
        of_a = torch.mm(of_reduced.t(), given)
        of_given = None
        if ctx.needs_input_grad[0]:
            of_given = product(grad, weight.t()).addmm_(of_reduced, a)
        return of_given, None, of_a, of_b, None


def _compute_frozen(layer: Linear, given: torch.Tensor) -> torch.Tensor:
    return cast("torch.Tensor", _Frozen.apply(given, layer.weight, layer.bias))


def _compute_adapted(layer: Any, adapter: str, given: torch.Tensor) -> torch.Tensor:
    weights = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    flat, base = given.reshape(-1, given.shape[-1]), layer.get_base_layer()
    found = cast("torch.Tensor", _Adapted.apply(flat, base, *weights, layer.scaling[adapter]))
    return found.view(*given.shape[:-1], -1)
