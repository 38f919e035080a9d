"""The sampling loop against transformers' own, and adapters that are refused or kept apart."""

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import MistralConfig, MistralForCausalLM

from progym.agents.model import GenerationRequest, Sampling
from progym.agents.models import load_model, load_trainable, shared_attention
from progym.agents.models.adapters import Base, add_adapter, fingerprint_weights, save_adapter
from progym.agents.models.decoding import sample
from progym.agents.models.prefill import Row
from progym.agents.models.transformers_lm import TransformersModel
from progym.agents.policy import Policy
from progym.envs.errors import BadData, BadValue, DataUnavailable, PromptTooLong, UnknownName
from progym.envs.rendering import Message

LONG_HEAD = "Answer in one word, and nothing but one word."


def request(user: str, seed: int, system: str = LONG_HEAD) -> GenerationRequest:
    messages = (Message(role="system", content=system), Message(role="user", content=user))
    return GenerationRequest(messages, seed)


def mixed_requests(count: int = 24) -> list[GenerationRequest]:
    """Prompts of several lengths and two heads, most of them asked for more than once."""
    heads = (LONG_HEAD, "Short.")
    return [request("why? " * (i % 5), i, heads[i % 3 == 0]) for i in range(count)]


@pytest.fixture(scope="module")
def lm(random_lm):
    return load_trainable(str(random_lm))


def token_ids(completions):
    return [completion.token_ids for completion in completions]


def test_greedy_tokens_equal_those_of_generate(lm):
    requests = mixed_requests(15)
    completions = lm.generate(requests, Sampling(0.0, 24))
    for asked, completion in zip(requests, completions, strict=True):
        prompt = torch.tensor([lm.encode(asked.messages)])
        reference = lm.model.generate(prompt, max_new_tokens=24, do_sample=False, pad_token_id=0)
        assert reference[0, prompt.shape[1] :].tolist() == list(completion.token_ids)
    assert len(set(token_ids(completions))) > 5


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0, 2.0])
def test_logprobs_are_those_of_the_distribution_that_was_drawn_from(lm, temperature):
    for completion in lm.generate(mixed_requests(), Sampling(temperature, 24)):
        ids = torch.tensor([[*completion.prompt_ids, *completion.token_ids]])
        with torch.no_grad():
            logits = lm.model(ids).logits[0, len(completion.prompt_ids) - 1 : -1]
        drawn = (logits / (temperature or 1)).log_softmax(-1)  # at 0 there is none
        chosen = drawn.gather(1, torch.tensor(completion.token_ids)[:, None])
        assert torch.allclose(chosen[:, 0], torch.tensor(completion.logprobs), atol=1e-4)


def test_same_requests_same_completions_bit_for_bit(lm):
    first, second = (lm.generate(mixed_requests(), Sampling(1.0, 24)) for _ in range(2))
    assert token_ids(first) == token_ids(second)
    assert [c.logprobs for c in first] == [c.logprobs for c in second]


def test_a_request_keeps_its_stream_whatever_stands_beside_it(lm):
    requests = mixed_requests()
    together = lm.generate(requests, Sampling(1.0, 12))
    reversed_order = lm.generate(requests[::-1], Sampling(1.0, 12))
    alone = [lm.generate([asked], Sampling(1.0, 12))[0] for asked in requests[:6]]
    assert token_ids(together) == token_ids(reversed_order)[::-1]
    assert token_ids(together)[:6] == token_ids(alone)


def test_seeds_vary_the_completions_of_one_prompt(lm):
    completions = lm.generate([request("why?", seed) for seed in range(8)], Sampling(1.0, 8))
    assert len(set(token_ids(completions))) == 8


def test_samples_follow_the_models_distribution(lm):
    prompt = tuple(lm.encode(request("why?", 0).messages))
    rows = [Row(prompt, None, seed) for seed in range(4000)]
    drawn = sample(lm.model, rows, Sampling(1.0, 1), eos_ids=frozenset(), max_tokens=10**6)
    with torch.no_grad():
        probs = lm.model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    counts = torch.bincount(torch.tensor([r.token_ids[0] for r in drawn]), minlength=len(probs))
    assert torch.allclose(counts / 4000, probs, atol=4 * 0.5 / 4000**0.5)


def test_small_batches_give_the_same_tokens_as_one_large(lm):
    rows = [Row(tuple(lm.encode(r.messages)), r.messages[0]["content"], r.seed)
            for r in mixed_requests()]  # fmt: skip
    small, large = (
        sample(lm.model, rows, Sampling(1.0, 12), eos_ids=lm.eos_ids, max_tokens=budget)
        for budget in (200, 10**6)
    )
    assert [r.token_ids for r in small] == [r.token_ids for r in large]


def test_prompts_that_are_prefixes_of_each_other_are_told_apart(lm):
    base = list(range(5, 45))
    prompts = [tuple(base[:n]) for n in (17, 30, 40)]
    rows = [Row(prompt, "same head", 0) for prompt in prompts]
    drawn = sample(lm.model, rows, Sampling(0.0, 6), eos_ids=frozenset(), max_tokens=10**6)
    for prompt, result in zip(prompts, drawn, strict=True):
        reference = lm.model.generate(
            torch.tensor([prompt]), max_new_tokens=6, do_sample=False, pad_token_id=0
        )
        assert reference[0, len(prompt) :].tolist()[: len(result.token_ids)] == result.token_ids


def test_attention_in_blocks_is_the_same_attention(lm, monkeypatch):
    whole = lm.generate(mixed_requests(8), Sampling(0.0, 4))
    monkeypatch.setattr(shared_attention, "_COLUMNS", 200)
    blocks = lm.generate(mixed_requests(8), Sampling(0.0, 4))
    assert token_ids(blocks) == token_ids(whole)


def test_a_model_that_can_not_share_prompts_samples_all_the_same(lm):
    values: dict[str, Any] = {**lm.model.config.to_dict(), "sliding_window": 8}
    config = MistralConfig(**values)
    torch.manual_seed(0)
    model: Any = MistralForCausalLM(config).eval()
    completions = TransformersModel(model, lm.tokenizer, name="sliding").generate(
        mixed_requests(8), Sampling(0.0, 8)
    )
    for completion in completions:
        prompt = torch.tensor([completion.prompt_ids])
        reference = model.generate(prompt, max_new_tokens=8, do_sample=False, pad_token_id=0)
        assert reference[0, prompt.shape[1] :].tolist() == list(completion.token_ids)


def test_a_cut_completion_says_so_and_a_stopped_one_keeps_its_end(lm):
    completions = lm.generate([request("?", seed) for seed in range(40)], Sampling(1.0, 30))
    cut = [c for c in completions if c.finish == "length"]
    stopped = [c for c in completions if c.finish == "stop"]
    assert cut
    assert stopped
    assert all(len(c.token_ids) == 30 and 1 not in c.token_ids for c in cut)
    assert all(c.token_ids[-1] == 1 and "<|end|>" not in c for c in stopped)


def test_a_completion_knows_its_prompt_and_its_usage(lm):
    asked = request("why?", 3)
    [completion] = lm.generate([asked], Sampling(1.0, 5))
    assert completion.prompt == asked.messages
    assert list(completion.prompt_ids) == lm.encode(asked.messages)
    assert completion.usage == (len(completion.prompt_ids), len(completion.token_ids))


def test_a_prompt_over_the_context_raises_with_both_lengths(lm):
    long, short = request("x" * 1000, 0), request("why?", 0)
    with pytest.raises(PromptTooLong, match=r"of 10\d\d tokens and up to 24 .* 1024 tokens") as e:
        lm.generate([short, long, short, long], Sampling(1.0, 24))
    assert e.value.positions == (1, 3)


def test_sampling_leaves_the_models_mode_as_it_was(lm):
    lm.model.train()
    lm.generate([request("why?", 0)], Sampling(1.0, 2))
    assert lm.model.training
    lm.model.eval()


def test_no_requests_no_completions(lm):
    assert lm.generate([], Sampling()) == []


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


def test_a_model_folder_that_changed_is_read_again(random_lm, tmp_path):
    shutil.copytree(random_lm, tmp_path / "model")
    first = load_trainable(str(tmp_path / "model"))
    with torch.no_grad():
        first.model.get_input_embeddings().weight.mul_(2.0)
    first.model.save_pretrained(tmp_path / "model")
    assert load_trainable(str(tmp_path / "model")).fingerprint != first.fingerprint


def test_a_model_has_one_fingerprint_on_cpu_and_gpu(random_lm):
    in_float32 = load_trainable(str(random_lm))
    in_bfloat16 = deepcopy(in_float32.model).to(torch.bfloat16)
    assert fingerprint_weights(in_bfloat16) == in_float32.fingerprint


def test_a_corrupt_model_is_refused_by_name(random_lm, tmp_path):
    shutil.copytree(random_lm, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadData, match="can't be read as a causal language model"):
        load_model(str(tmp_path / "model"))


def test_a_tokenizer_without_chat_template_is_refused(random_lm, tmp_path):
    shutil.copytree(random_lm, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").unlink()
    with pytest.raises(BadData, match="no chat template"):
        load_model(str(tmp_path / "model"))


def test_an_unknown_spec_names_the_nearest():
    with pytest.raises(UnknownName, match=r"Unknown model 'smolm2'.*Did you mean 'smollm2'\?"):
        load_model("smolm2")


@pytest.mark.parametrize("spec", ["gold", "http://localhost:1/v1#m"])
def test_models_without_weights_take_no_adapter_and_no_training(spec, tmp_path):
    with pytest.raises(BadValue, match="takes no adapter"):
        load_model(Policy(spec, adapter=tmp_path))
    with pytest.raises(BadValue, match="can't be trained"):
        load_trainable(spec)
