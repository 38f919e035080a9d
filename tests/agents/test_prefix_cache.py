"""What a module's prompts begin with is computed once while the weights stand."""

import pytest
import torch
from letters import train

from progym.agents.model import GenerationRequest, Sampling
from progym.agents.models import load_trainable, prefix_cache
from progym.agents.models.adapters import add_adapter
from progym.agents.models.prefix_cache import PrefixCache
from progym.agents.policy import Policy
from progym.envs.rendering import Message

DRAW = Sampling(1.0, 12)
HEADS = ("Answer in one word, and nothing but one word.", "Write a query of a few words for this.")


def requests(first=0, count=6):
    return [
        GenerationRequest(
            (
                Message(role="system", content=HEADS[seed % 2]),
                Message(role="user", content=f"word {seed}"),
            ),
            seed,
        )
        for seed in range(first, first + count)
    ]


@pytest.fixture
def lm(random_lm):
    return load_trainable(Policy(str(random_lm)))


@pytest.fixture
def computed(monkeypatch):
    """The heads that were computed, not found."""
    heads = []
    get = PrefixCache.get

    def spy(cache, adapter, tokens, compute):
        return get(cache, adapter, tokens, lambda: (heads.append((adapter, tokens)), compute())[1])

    monkeypatch.setattr(PrefixCache, "get", spy)
    return heads


def drawn(lm, asked):
    return [(c.token_ids, c.logprobs) for c in lm.generate(asked, DRAW)]


def test_heads_are_computed_once_while_the_weights_stand(lm, computed):
    with lm.standing():
        drawn(lm, requests())
        assert len(set(computed)) == len(computed) == 2
        drawn(lm, requests(6))
        drawn(lm, requests(20, 1))
        assert len(computed) == 2


def test_a_kept_head_changes_no_bit(lm):
    cold = [drawn(lm, requests(i)) for i in (0, 6)]
    with lm.standing():
        assert [drawn(lm, requests(i)) for i in (0, 6)] == cold


def test_nothing_outlives_the_promise(lm, computed):
    """A fused optimizer changes weights unseen by torch's own count of changes."""
    lm.model = add_adapter(lm.model, lora(), "default")
    lm.shared = "default"
    trained = [p for name, p in lm.model.named_parameters() if "lora_" in name]
    optimizer = torch.optim.AdamW(trained, lr=0.1, fused=True)
    with lm.standing():
        before = drawn(lm, requests())
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with lm.standing():
        after = drawn(lm, requests())
    assert after != before
    assert after == drawn(lm, requests())


def test_rollouts_make_the_promise(random_lm, tmp_path, computed):
    train(random_lm, tmp_path, max_steps=2)
    assert len(computed) == 2 * len({tokens for _, tokens in computed})


def test_every_adapter_has_heads_of_its_own(lm, computed):
    lm.model = add_adapter(lm.model, lora(), "own")
    change(lm.model)
    lm.adapters = {"tell": "own"}
    asked = [
        GenerationRequest(one.messages, one.seed, module)
        for one in requests()
        for module in ("ask", "tell")
    ]
    with lm.standing():
        drawn(lm, asked)
    assert {adapter for adapter, _ in computed} == {None, "own"}
    assert len(computed) == 4


def test_what_is_kept_is_bounded(lm, computed, monkeypatch):
    monkeypatch.setattr(prefix_cache, "_BYTES", 1)
    with lm.standing():
        drawn(lm, requests())
        drawn(lm, requests())
    assert len(computed) == 4


def test_a_head_is_the_same_in_whatever_batch(lm):
    heads = {row.head: row.head_ids for row in lm.rows(requests(), DRAW)}
    assert all(heads.values())
    for request in requests(0, 12):
        [row] = lm.rows([request], DRAW)
        assert row.head_ids == heads[row.head]
        assert row.prompt[: len(row.head_ids)] == row.head_ids


def lora():
    from peft import LoraConfig

    return LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)


@torch.no_grad()
def change(model):
    """What an optimizer's step does: weights change in place."""
    for name, parameter in sorted(model.named_parameters()):
        if "lora_" in name:
            parameter.copy_(torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter))
