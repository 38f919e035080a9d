"""Scores of tokens in one operation are those of torch's own operations, and so are gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from progym.agents.grpo import token_scores
from progym.agents.grpo.token_scores import score_tokens


def plainly(logits, rows, labels, temperature):
    logprobs = (logits / temperature).log_softmax(-1)
    entropies = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs[rows, labels], entropies[rows].detach()


def make(seed, count, size, tokens, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(count, size, generator=generator, dtype=torch.float64)
    rows = torch.randint(count, (tokens,), generator=generator)
    labels = torch.randint(size, (tokens,), generator=generator)
    return logits.requires_grad_(), rows, labels


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 99),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 15),
    st.sampled_from([0.5, 1, 1.7]),
)
def test_scores_and_gradients_are_those_of_log_softmax(seed, count, size, tokens, temperature):
    logits, rows, labels = make(seed, count, size, tokens)
    found, expected = (
        function(logits, rows, labels, temperature) for function in (score_tokens, plainly)
    )
    assert torch.allclose(found[0], expected[0], atol=1e-12)
    assert torch.allclose(found[1], expected[1], atol=1e-12)
    assert not found[1].requires_grad
    weights = torch.linspace(-1, 1, tokens, dtype=torch.float64)
    mine, other = (torch.autograd.grad(one[0] @ weights, logits)[0] for one in (found, expected))
    assert torch.allclose(mine, other, atol=1e-12)


@pytest.mark.parametrize("at_once", [1, 7, 24])
def test_rows_worked_on_at_once_change_nothing(at_once, monkeypatch):
    logits, rows, labels = make(0, 9, 6, 20)
    whole = score_tokens(logits, rows, labels, 1.0)
    monkeypatch.setattr(token_scores, "_AT_ONCE", {"cpu": at_once})
    for one, other in zip(whole, score_tokens(logits, rows, labels, 1.0), strict=True):
        assert torch.allclose(one, other, atol=1e-14)


def test_a_token_without_any_chance_is_told_apart_from_a_rare_one():
    logits = torch.tensor([[0.0, -80.0, -200.0]])
    rows, labels = torch.zeros(3, dtype=torch.long), torch.arange(3)
    logprobs, entropies = score_tokens(logits, rows, labels, 1.0)
    assert logprobs.tolist() == [0.0, -80.0, -200.0]
    assert entropies.tolist() == pytest.approx([0.0] * 3, abs=1e-6)


@pytest.mark.parametrize("offset", [0, 50, 1000])
def test_single_precision_loses_no_digits_to_large_vocabularies_and_logits(offset):
    logits, rows, labels = make(0, 4, 50_000, 30)
    single = (logits + offset).detach().float()
    expected = plainly(single.double(), rows, labels, 1.0)
    found = score_tokens(single, rows, labels, 1.0)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one.double(), other, rtol=0, atol=1e-4)


def test_half_precision_is_scored_in_single_and_its_gradient_is_half():
    logits, rows, labels = make(0, 4, 30, 6)
    half = logits.detach().bfloat16().requires_grad_()
    logprobs, _ = score_tokens(half, rows, labels, 1.0)
    assert logprobs.dtype is torch.float32
    assert torch.allclose(logprobs, plainly(half.float(), rows, labels, 1.0)[0], atol=1e-5)
    logprobs.sum().backward()
    assert half.grad is not None
    assert half.grad.dtype is torch.bfloat16


def test_going_backward_twice_is_refused_not_wrong():
    logits, rows, labels = make(0, 4, 30, 6)
    loss = score_tokens(logits, rows, labels, 1.0)[0].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
