"""A model's weights as sampling wants them: LoRA added in, large layers laid out for their product.

While nothing is trained, a layer does one product instead of three. The model's own weights stay as
they are, so that nothing drifts however often this is done.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn import Linear, Module

from progym.agents.models.cpu_products import Forward, gains, packed_product, product, replaced
from progym.agents.models.lora_layers import has_plain_lora

_BYTES = 2 << 30
"""Memory for weights that are made; layers beyond it stay as they are."""


class SamplingWeights:
    """What is made of a model's weights and one adapter, kept until another adapter is wanted."""

    def __init__(self) -> None:
        self._made_for: list[str | None] = []
        self._forwards: dict[Module, Forward] = {}

    @contextmanager
    def in_use(self, model: Any, adapter: str | None) -> Generator[None]:
        """Compute with an adapter, which is the one in use; None for none.

        An adapter stays beside weights in half precision, which would round it away.
        """
        if self._made_for != [adapter]:
            self._made_for, self._forwards = [adapter], _make(model, adapter)
        with replaced(self._forwards):
            yield


@torch.no_grad()
def _make(model: Any, adapter: str | None) -> dict[Module, Forward]:
    """Give a product for each layer that does with one instead of three, or with a faster one."""
    made: dict[Module, Forward] = {}
    room, adapted = _BYTES, dict(_adapted(model, adapter))
    for base in (layer for layer in model.modules() if type(layer) is Linear):
        weight, layer = base.weight.data, adapted.get(base)
        if layer is None and not gains(weight):
            continue
        room -= weight.nbytes
        if room < 0:
            break
        if layer is not None:
            weight = weight + layer.get_delta_weight(adapter)
        many = partial(product, weight=weight, bias=base.bias)
        made[layer or base] = packed_product(weight, base.bias) if gains(weight) else many
    return made


def _adapted(model: Any, adapter: str | None) -> Iterator[tuple[Linear, Any]]:
    """Find layers that an adapter can be added into, and what holds the adapter for each."""
    if adapter is None:
        return
    embedding = model.get_input_embeddings().weight  # which a head may share
    for layer in model.modules():
        if has_plain_lora(layer, adapter):
            base: Any = layer.get_base_layer()
            exact = base.weight.dtype in (torch.float32, torch.float64)
            if exact and base.weight is not embedding:
                yield base, layer
