"""Norms computed as one operation are the models' own, where they are RMSNorm and no more."""

import pytest
import torch
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from progym.agents.models.plain_norms import plain_norm


def make(family, size=8, *, dtype=torch.float32):
    """A frozen norm, its weights away from 1."""
    layer = family(size)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-2, 2, size))
    return layer.to(dtype).requires_grad_(False)


def values(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("family", [LlamaRMSNorm, Qwen3RMSNorm])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_values_and_gradients_are_those_of_the_model(family, scale):
    layer = make(family)
    forward, given, grads = plain_norm(layer), values(2, 5, 8), values(2, 5, 8).detach().flip(0)
    assert forward is not None
    expected, found = layer(given * scale), forward(given * scale)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
    [wanted], [got] = (torch.autograd.grad(y, given, grads) for y in (expected, found))
    assert (got - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize(
    "layer",
    [
        make(GemmaRMSNorm),
        make(LlamaRMSNorm, dtype=torch.bfloat16),
        make(LlamaRMSNorm, dtype=torch.float64),
        make(LlamaRMSNorm).requires_grad_(),
        torch.nn.LayerNorm(8).requires_grad_(False),
    ],
    ids=["scaled by 1 + weight", "half precision", "double precision", "trained", "another norm"],
)
def test_other_norms_are_left_to_the_model(layer):
    assert plain_norm(layer) is None
