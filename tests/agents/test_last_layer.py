"""The last layer for wanted tokens gives their logits, and the gradients of these."""

import pytest
import torch
from adapted_models import adapted
from transformers import DynamicCache

from progym.agents.models.kv_buffer import contents_of
from progym.agents.models.last_layer import wanted_only

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

IDS = torch.arange(14).view(2, 7)
PLACES = torch.tensor([3, 6])
FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma")


def learn(model):
    """Give logits at the places, keys and values, and the adapter's gradients."""
    model.zero_grad()
    cache = DynamicCache()
    logits = model(input_ids=IDS, past_key_values=cache, logits_to_keep=PLACES).logits
    logits.square().sum().backward()
    kept = [part for pair in contents_of(cache) for part in pair]
    grads = [weight.grad.clone() for weight in model.parameters() if weight.requires_grad]
    return [logits, *kept, *grads]


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_keys_and_gradients_are_those_of_the_whole_layer(family):
    model = adapted(family)
    expected = learn(model)
    with wanted_only(model, PLACES):
        found = learn(model)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_other_token_is_worked_on(family):
    model, seen = adapted(family), {}
    for number, layer in enumerate(model.get_decoder().layers):
        for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.up_proj"):
            layer.get_submodule(name).base_layer.register_forward_hook(
                lambda _, given, __, key=(number, name): seen.update({key: given[0].shape[1]})
            )
    with wanted_only(model, PLACES):
        model(input_ids=IDS)
    assert seen.pop((1, "self_attn.k_proj")) == 7  # which others look at
    assert {number: {n for (of, _), n in seen.items() if of == number} for number in (0, 1)} == {
        0: {7},
        1: {2},
    }


def test_afterwards_the_layer_is_whole_again():
    model = adapted()
    expected = model(input_ids=IDS).logits
    with wanted_only(model, PLACES):
        assert not torch.allclose(model(input_ids=IDS).logits, expected)
    assert torch.equal(model(input_ids=IDS).logits, expected)


def test_models_of_another_build_are_left_alone():
    model = adapted("GPTNeoX")
    expected = model(input_ids=IDS).logits
    with wanted_only(model, PLACES):
        assert torch.equal(model(input_ids=IDS).logits, expected)
