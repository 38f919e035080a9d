"""Adapters are saved whole, loaded as they were, kept apart, and refused where they don't fit."""

import json
from dataclasses import replace

import pytest
import torch
from mixed_requests import mixed_requests, token_ids
from peft import LoraConfig

from progym.agents.model import Sampling
from progym.agents.models import load_model, load_trainable
from progym.agents.models.adapters import Base, add_adapter, save_adapter
from progym.agents.policy import Policy
from progym.envs.errors import BadData, BadValue, DataUnavailable


@pytest.fixture(scope="module")
def lm(random_lm):
    return load_trainable(str(random_lm))


@pytest.fixture
def adapted(random_lm, tmp_path):
    """A policy whose adapter was trained: its weights are not the zeros LoRA starts from."""
    lm = load_trainable(str(random_lm))
    model = add_adapter(lm.model, LoraConfig(r=4, target_modules="all-linear"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    folder = tmp_path / "adapter"
    save_adapter(model, folder, Base(lm.name, lm.fingerprint))
    return Policy(str(random_lm), adapter=folder), model


def test_a_saved_adapter_is_loaded_to_the_same_completions(adapted, random_lm, lm):
    policy, model = adapted
    trained = replace_model(lm, model).generate(mixed_requests(), Sampling(1.0, 12))
    loaded = load_model(policy).generate(mixed_requests(), Sampling(1.0, 12))
    plain = load_model(str(random_lm)).generate(mixed_requests(), Sampling(1.0, 12))
    assert [c.logprobs for c in loaded] == [c.logprobs for c in trained]
    assert token_ids(plain) != token_ids(loaded)


def replace_model(lm, model):
    return type(lm)(model, lm.tokenizer, name=lm.name, fingerprint=lm.fingerprint)


def test_an_adapter_never_leaks_into_another_policy(adapted, random_lm):
    before = load_model(str(random_lm)).generate(mixed_requests(), Sampling(1.0, 12))
    with_adapter = load_model(adapted[0])
    plain = load_model(str(random_lm))
    plain.generate(mixed_requests(), Sampling(1.0, 12))
    with_adapter.generate(mixed_requests(), Sampling(1.0, 12))
    after = plain.generate(mixed_requests(), Sampling(1.0, 12))
    assert [c.logprobs for c in before] == [c.logprobs for c in after]


def test_a_loaded_adapter_can_be_trained_further(adapted):
    model = load_trainable(adapted[0]).model
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)


def test_equal_adapters_have_equal_bytes_and_no_path_of_this_machine(adapted, tmp_path):
    policy, model = adapted
    base = json.loads((policy.adapter / "base.json").read_text())
    save_adapter(model, tmp_path / "again", Base(**base))
    for path in policy.adapter.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
        assert str(tmp_path.parent).encode() not in path.read_bytes()


def corrupt_weights(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def corrupt_config(folder):
    (folder / "adapter_config.json").write_text('{"peft_type": ')


def unknown_kind(folder):
    (folder / "adapter_config.json").write_text('{"peft_type": "MAGIC"}')


def other_rank(folder):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "r": 8}))


def fewer_layers(folder):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "target_modules": ["q_proj"]}))


def no_layers(folder):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "target_modules": ["nothing"]}))


def other_weights(folder):
    (folder / "base.json").write_text('{"name": "tiny", "fingerprint": "0123456789abcdef"}')


def broken_numbers(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    state = load_file(path)
    next(iter(state.values()))[0, 0] = float("nan")
    save_file(state, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (corrupt_weights, r"adapter_model\.safetensors: corrupt"),
        (corrupt_config, r"adapter_config\.json: not JSON"),
        (unknown_kind, r"adapter_config\.json: not an adapter configuration"),
        (other_rank, r"adapter_model\.safetensors: .* has shape \(4, 128\), .* needs \(8, 128\)"),
        (fewer_layers, r"adapter_model\.safetensors: has, as the model has not, the tensor"),
        (no_layers, r"adapter_config\.json: does not fit"),
        (other_weights, r"base\.json: the adapter was trained on 'tiny' with weights 0123"),
        (broken_numbers, r"adapter_model\.safetensors: .* not finite"),
    ],
)
def test_a_damaged_adapter_is_refused_by_file_and_reason(adapted, damage, message):
    damage(adapted[0].adapter)
    with pytest.raises(BadData, match=message):
        load_model(adapted[0])


def test_an_adapter_written_by_peft_names_its_base(adapted, random_lm, tmp_path):
    policy, model = adapted
    model.save_pretrained(tmp_path / "peft")
    loaded = load_model(replace(policy, adapter=tmp_path / "peft"))
    reference = load_model(policy)
    assert token_ids(loaded.generate(mixed_requests(6), Sampling())) == token_ids(
        reference.generate(mixed_requests(6), Sampling())
    )


def test_an_adapter_written_by_peft_for_another_model_is_refused(adapted, tmp_path):
    policy, model = adapted
    model.save_pretrained(tmp_path / "peft")
    path = tmp_path / "peft" / "adapter_config.json"
    values = json.loads(path.read_text()) | {"base_model_name_or_path": "someone/else"}
    path.write_text(json.dumps(values))
    with pytest.raises(BadData, match=r"trained on 'someone/else', not on"):
        load_model(replace(policy, adapter=path.parent))


def test_a_missing_adapter_file_is_named(adapted):
    (adapted[0].adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(DataUnavailable, match=r"has no adapter_model\.safetensors"):
        load_model(adapted[0])


def test_saving_a_model_without_adapter_is_refused(lm, tmp_path):
    with pytest.raises(BadValue, match="no adapter to save"):
        save_adapter(lm.model, tmp_path, Base(lm.name, lm.fingerprint))
