"""Attention in a tree equals attention under a mask that hides what is not on a token's way."""

import pytest
import torch
from adapted_models import adapted
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad, scaled_dot_product_attention

from progym.agents.grpo.heads import computed_head
from progym.agents.grpo.packing import lay_out, plan_trees
from progym.agents.grpo.scoring import can_pack, score_rows
from progym.agents.grpo.tree_attention import attend, nodes_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

HEADS, KEY_HEADS, SIZE = 4, 2, 8
sequences = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9), min_size=1, max_size=12)


def masked(query, key, value, ends):
    order = torch.arange(len(ends))
    seen = (order[None] <= order[:, None]) & (order[:, None] < torch.tensor(ends)[None])
    seen = pad(seen, (key.shape[2] - len(ends), 0), value=True)
    key, value = (part.repeat_interleave(HEADS // KEY_HEADS, 1) for part in (key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=seen).transpose(1, 2)


@settings(max_examples=60, deadline=None)
@given(sequences, st.integers(0, 3), st.integers(0, 9))
def test_outputs_and_gradients_are_those_of_the_mask(given_sequences, head, seed):
    packed = lay_out(given_sequences)
    generator = torch.Generator().manual_seed(seed)
    tokens = len(packed.token_ids)
    query, key, value = parts = [
        torch.randn(1, heads, columns, SIZE, generator=generator, dtype=torch.float64)
        for heads, columns in (
            (HEADS, tokens),
            (KEY_HEADS, head + tokens),
            (KEY_HEADS, head + tokens),
        )
    ]
    for part in parts:
        part.requires_grad_()
    ours, _ = attend(None, query, key, value, None, progym_tree=nodes_of(packed.ends))
    theirs = masked(query, key, value, packed.ends)
    assert torch.allclose(ours, theirs, atol=1e-10)
    weights = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(ours, parts, weights),
        torch.autograd.grad(theirs, parts, weights),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-10)


def test_a_node_is_a_stretch_without_a_branch():
    packed = lay_out([(0, 1, 2, 3, 4), (0, 1, 2, 5), (0, 6)])
    assert packed.token_ids == [0, 1, 2, 3, 4, 5, 6]
    assert nodes_of(packed.ends) == [(0, 1, 7), (1, 3, 6), (3, 5, 5), (5, 6, 6), (6, 7, 7)]


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Qwen3"])
@pytest.mark.parametrize("way", ["tree", "mask"])
def test_scores_and_lora_gradients_are_those_of_padded_rows(family, way, monkeypatch):
    """Single precision: log-probabilities within 1e-4, gradients within 1e-4 relative."""
    model = adapted(family)
    generator = torch.Generator().manual_seed(0)
    head, tails = (draw(generator, n, 90) for n in (40, 24))
    rows = [
        (head + tails[: 4 * (i % 3)] + [i % 5], draw(generator, 3 + i % 7, 90)) for i in range(24)
    ]
    width = max(len(tokens) for _, tokens in rows)
    if way == "mask":
        monkeypatch.setattr("progym.agents.grpo.tree_attention.can_share", lambda _: False)
    assert can_pack(model, model.config)
    weights = torch.randn(len(rows), width, generator=generator)
    packed = score_rows(model, rows, width=width, temperature=0.8).logprobs
    ours = gradients(model, packed, weights)
    alone = padded(model, rows, width, 0.8)
    theirs = gradients(model, alone, weights)
    assert (packed - alone).abs().max() <= 1e-4
    assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


@pytest.mark.parametrize("way", ["tree", "mask"])
def test_trees_on_a_head_give_the_gradients_of_one_tree(way, monkeypatch):
    model = adapted("Qwen2")
    if way == "mask":
        monkeypatch.setattr("progym.agents.grpo.tree_attention.can_share", lambda _: False)
    generator = torch.Generator().manual_seed(0)
    head = draw(generator, 30, 90)
    rows = [([*head, i % 3], draw(generator, 2 + i % 3, 90)) for i in range(12)]
    weights = torch.randn(len(rows), 4, generator=generator)
    whole = score_rows(model, rows, width=4, temperature=1.0).logprobs
    expected = gradients(model, whole, weights)
    plan = plan_trees(rows, limit=12)
    assert plan.head == tuple(head)
    assert len(plan.trees) > 2
    model.zero_grad()
    with computed_head(model, plan.head) as computed:
        for tree in plan.trees:
            some = [rows[row] for row in tree]
            scored = score_rows(model, some, width=4, temperature=1.0, head=computed).logprobs
            assert torch.allclose(scored, whole[tree], atol=1e-4)
            (scored * weights[tree]).sum().backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert (found - expected).norm() <= 1e-4 * expected.norm()


def draw(generator, count, vocabulary):
    return torch.randint(vocabulary, (count,), generator=generator).tolist()


def padded(model, rows, width, temperature):
    found = []
    for prompt, tokens in rows:
        ids = torch.tensor([[*prompt, *tokens]])
        logits = model(ids).logits[0, len(prompt) - 1 : -1] / temperature
        chosen = logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0]
        found.append(torch.nn.functional.pad(chosen, (0, width - len(tokens))))
    return torch.stack(found)


def gradients(model, logprobs, weights):
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.cat(
        [g.flatten() for g in torch.autograd.grad((logprobs * weights).sum(), trained)]
    )
