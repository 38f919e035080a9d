"""Linear layers under a LoRA adapter that is no more than two matrices."""

from __future__ import annotations

from typing import Any

from peft.tuners.lora import Linear as LoraLinear
from torch.nn import Linear


def has_plain_lora(layer: Any, adapter: str) -> bool:
    """Tell whether a layer is W x + scale * B A x, so that it may be computed in another way."""
    return (
        isinstance(layer, LoraLinear)
        and type(layer.get_base_layer()) is Linear
        and adapter in layer.lora_A
        and adapter not in layer.lora_variant
        and not layer.lora_bias[adapter]
    )
