"""LoRA adapters added into the weights they sit on while nothing is trained.

A layer then does one product instead of three. The weights below are put back as they were, not
subtracted from, so that nothing drifts however often this is done.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear


class MergedWeights:
    """The weights of a model's layers with an adapter in them, kept until another one is wanted."""

    def __init__(self) -> None:
        self._adapter: str | None = None
        self._weights: list[torch.Tensor] = []

    @contextmanager
    def in_use(self, model: Any, adapter: str | None) -> Generator[None]:
        """Compute with an adapter, which is the active one, in the weights; None leaves all be.

        Layers whose weights are in half precision, where merging would round the adapter away, or
        belong to other layers too, keep it beside them.
        """
        layers = [] if adapter is None else _mergeable_layers(model, adapter)
        if adapter != self._adapter:
            self._weights = []  # before others are made, so that there is one copy
            with torch.no_grad():
                self._weights = [
                    _weight_of(layer).data + layer.get_delta_weight(adapter) for layer in layers
                ]
            self._adapter = adapter
        before = [_weight_of(layer).data for layer in layers]
        for layer, weight in zip(layers, self._weights, strict=True):
            _weight_of(layer).data = weight
            layer.merged_adapters.append(adapter)
        try:
            yield
        finally:
            for layer, weight in zip(layers, before, strict=True):
                _weight_of(layer).data = weight
                layer.merged_adapters.remove(adapter)


def _mergeable_layers(model: Any, adapter: str) -> list[Any]:
    embedding = model.get_input_embeddings().weight  # which a head may share
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, Linear)
        and adapter in layer.lora_A
        and adapter not in layer.lora_variant
        and not layer.lora_bias[adapter]
        and _weight_of(layer) is not embedding
        and _weight_of(layer).dtype in (torch.float32, torch.float64)
    ]


def _weight_of(layer: Any) -> Any:
    return layer.get_base_layer().weight
