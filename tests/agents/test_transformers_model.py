"""The sampling loop against transformers' own, and models that are refused."""

import shutil
from copy import deepcopy
from typing import Any

import pytest
import torch
from mixed_requests import mixed_requests, request, token_ids
from transformers import MistralConfig, MistralForCausalLM

from progym.agents.model import Sampling
from progym.agents.models import (
    load_model,
    load_trainable,
    prompt_passes,
    shared_attention,
)
from progym.agents.models.adapters import fingerprint_weights
from progym.agents.models.decoding import sample
from progym.agents.models.prefill import Row
from progym.agents.models.prompt_passes import split_prompts
from progym.agents.models.transformers_lm import TransformersModel
from progym.agents.policy import Policy
from progym.envs.errors import BadData, BadValue, PromptTooLong, UnknownName


@pytest.fixture(scope="module")
def lm(random_lm):
    return load_trainable(str(random_lm))


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


def test_prompts_asked_for_unequally_often_are_each_completed_as_if_alone(lm):
    asked = [*["why?"] * 9, *["why not?"] * 2, *(f"why {i}?" for i in range(5)), "why 1?"]
    requests = [request(user, seed) for seed, user in enumerate(asked)]
    together = lm.generate(requests, Sampling(1.0, 24))
    alone = [lm.generate([one], Sampling(1.0, 24))[0] for one in requests]
    assert token_ids(together) == token_ids(alone)


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


def test_one_long_prompt_leaves_short_ones_together(monkeypatch):
    monkeypatch.setitem(prompt_passes._TOKENS, "cpu", 40)  # pyright: ignore[reportPrivateUsage]
    prompts = [tuple(range(length)) for length in (5, 5, 6, 6, 7, 100)]
    chunks = split_prompts(prompts, 2, torch.device("cpu"))
    assert [list(map(len, chunk)) for chunk in chunks] == [[5, 5, 6, 6, 7], [100]]


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
