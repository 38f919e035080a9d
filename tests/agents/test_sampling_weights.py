"""Weights made for sampling, and products through oneDNN, give what the model's layers give."""

import pytest
import torch
from adapted_models import LARGE, adapted
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig

from progym.agents.models import sampling_weights
from progym.agents.models.adapters import SHARED, adapter_in_use
from progym.agents.models.cpu_products import gains, packed_product
from progym.agents.models.sampling_weights import SamplingWeights

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

IDS = torch.arange(12).view(2, 6)


@pytest.fixture
def model():
    return adapted(sizes=LARGE)


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


@pytest.mark.parametrize("adapter", [SHARED, None])
def test_logits_are_those_of_the_layers_and_the_adapter(model, adapter):
    with adapter_in_use(model, adapter):
        expected = logits(model)
        with SamplingWeights().in_use(model, adapter):
            assert not torch.equal(logits(model), expected)  # computed another way
            assert torch.allclose(logits(model), expected, atol=1e-4)


def test_the_models_own_weights_come_back_bit_for_bit(model):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    expected, weights = logits(model), SamplingWeights()
    for _ in range(3):
        with weights.in_use(model, SHARED):
            logits(model)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert torch.equal(logits(model), expected)


def test_they_come_back_from_an_error_too(model):
    expected = logits(model)
    with pytest.raises(KeyError), SamplingWeights().in_use(model, SHARED):
        raise KeyError
    assert torch.equal(logits(model), expected)


def test_another_adapter_has_weights_of_its_own(model):
    model.add_adapter("other", LoraConfig(r=4, target_modules="all-linear"))
    weights = SamplingWeights()
    with weights.in_use(model, SHARED):
        adapted = logits(model)
    with adapter_in_use(model, "other"), weights.in_use(model, "other"):
        fresh = logits(model)
    with weights.in_use(model, SHARED):
        assert torch.equal(logits(model), adapted)
    assert not torch.allclose(adapted, fresh, atol=1e-2)


def test_weights_in_half_precision_keep_their_adapter_beside_them(model):
    model.bfloat16()
    expected = logits(model)
    with SamplingWeights().in_use(model, SHARED):
        assert torch.equal(logits(model), expected)


def test_memory_for_them_is_bounded(model, monkeypatch):
    monkeypatch.setattr(sampling_weights, "_BYTES", 0)
    expected = logits(model)
    with SamplingWeights().in_use(model, SHARED):
        assert torch.equal(logits(model), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), st.integers(512, 600), st.booleans(), st.integers(0, 9))
def test_a_packed_product_is_a_linear_layer(rows, width, biased, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(width, 512, generator=generator)
    bias = torch.randn(width, generator=generator) if biased else None
    assert gains(weight)
    values = torch.randn(rows, 1, 512, generator=generator)
    expected = torch.nn.functional.linear(values, weight, bias)
    assert torch.allclose(packed_product(weight, bias)(values), expected, atol=1e-3)
