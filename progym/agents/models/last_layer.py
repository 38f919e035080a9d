"""The last layer, for the tokens whose logits are wanted.

Of all other tokens it gives keys and values that these look at, and nothing that anybody reads. In
a prompt that is nearly all; in a model of few layers it is much of the work.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn import Module

from progym.agents.models.cpu_products import Forward, replaced

_PARTS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")
"""What Llama and those after it call what works on tokens one by one; others are left alone."""


@contextmanager
def wanted_only(model: Any, places: torch.Tensor) -> Generator[None]:
    """Compute logits, and only at some places of each row: those at others are wrong."""
    forwards: dict[Module, Forward] = {
        part: partial(_compute_some, part.forward, places) for part in _parts_of(model)
    }
    with replaced(forwards):
        yield


def _parts_of(model: Any) -> list[Any]:
    layers: Any = getattr(model.get_decoder(), "layers", None)
    if not layers:
        return []
    found = {name: part for name, part in layers[-1].named_modules() if name in (*_PARTS, "mlp")}
    if any(name not in found for name in _PARTS):
        return []
    return [found["self_attn.q_proj"], found["self_attn.o_proj"], found["mlp"]]


def _compute_some(forward: Forward, places: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Compute some tokens of (rows, tokens, size); gives zeros for others."""
    some = forward(given[:, places])
    return some.new_zeros(*given.shape[:2], some.shape[2]).index_copy(1, places, some)
