"""Layers for training give what PEFT's give, and the same gradients."""

import pytest
import torch
from adapted_models import LARGE, adapted
from peft.tuners.lora import Linear as LoraLinear

from progym.agents.models.adapters import adapter_in_use
from progym.agents.models.cpu_products import product
from progym.agents.models.training_layers import training_layers

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore:.*lora_bias=True:peft.utils.warning.PeftWarning"
)

IDS = torch.arange(12).view(2, 6)


def compute(model):
    model.zero_grad()
    logits = model(input_ids=IDS).logits
    logits.logsumexp(-1).sum().backward()
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return logits.detach(), torch.cat(grads)


@pytest.mark.parametrize("family", ["Llama", "Qwen2"])
@pytest.mark.parametrize("sizes", [{}, LARGE], ids=["small", "large"])
def test_logits_and_gradients_are_those_of_peft(family, sizes):
    model = adapted(family, sizes=sizes)
    logits, gradients = compute(model)
    with training_layers(model):
        others, found = compute(model)
    assert not torch.equal(found, gradients)  # computed another way
    assert torch.allclose(others, logits, atol=1e-4)
    assert (found - gradients).norm() <= 1e-5 * gradients.norm()
    assert torch.equal(compute(model)[1], gradients)


def test_in_double_precision_they_are_the_same_to_its_last_digits():
    model = adapted().double()
    _, gradients = compute(model)
    with training_layers(model):
        _, found = compute(model)
    assert (found - gradients).norm() <= 1e-7 * gradients.norm()


def test_without_an_adapter_in_use_layers_are_the_models_own():
    model = adapted(sizes=LARGE)
    with torch.no_grad(), adapter_in_use(model, None):
        expected = model(input_ids=IDS).logits
        with training_layers(model):
            assert torch.allclose(model(input_ids=IDS).logits, expected, atol=1e-4)


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"lora_dropout": 0.5}, {"lora_bias": True}]
)
def test_adapters_of_other_kinds_are_left_to_peft(settings):
    model = adapted(**settings)
    _, gradients = compute(model)
    layers = [layer for layer in model.modules() if isinstance(layer, LoraLinear)]
    assert layers
    with training_layers(model):
        assert not any("forward" in vars(layer) for layer in layers)
        _, found = compute(model)
    assert (found - gradients).norm() <= 1e-5 * gradients.norm()  # norms are computed another way


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("tokens", [1, 300, 2048])
def test_products_are_those_of_a_linear_layer_whichever_way_they_are_done(tokens, turned):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 128, generator=generator)
    weight = weight.t() if turned else weight
    given = torch.randn(tokens, weight.shape[1], generator=generator)
    bias = torch.randn(len(weight), generator=generator)
    expected = torch.nn.functional.linear(given, weight, bias)
    assert torch.allclose(product(given, weight, bias), expected, atol=1e-3)
