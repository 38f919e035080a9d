"""Rows leave the batch as they finish, and waiting ones take their room."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from mixed_requests import mixed_requests, request
from transformers import MistralConfig, MistralForCausalLM

from progym.agents.model import Sampling
from progym.agents.models import decoding, load_trainable
from progym.agents.models.decoding import sample
from progym.agents.models.decoding_batch import DecodingBatch
from progym.agents.models.prefill import Row, prefill
from progym.agents.models.waiting_rows import WaitingRows

WHOLE = 10**6
ENDS = range(0, 90, 8)
MOST = 2000


@pytest.fixture(scope="module")
def lm(random_lm):
    return load_trainable(str(random_lm))


@pytest.fixture(scope="module")
def rows(lm):
    return lm.rows(mixed_requests(40), Sampling(1.0, 12))


@pytest.fixture
def begun(monkeypatch):
    """How many rows were begun together, in order."""
    sizes = []
    monkeypatch.setattr(decoding, "prefill", lambda *a: sizes.append(len(a[1])) or prefill(*a))
    return sizes


def draw(model, rows, most, *, tokens=12, ends: Iterable[int] = ENDS):
    return sample(model, rows, Sampling(1.0, tokens), eos_ids=frozenset(ends), max_tokens=most)


def check_same(found, expected):
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    assert len({len(one.token_ids) for one in found}) > 3


def tokens_of(batch):
    """Count the tokens that a batch's tensors have room for, those of heads and prompts once."""
    rows, _, room, _ = batch._buffer._layers[0].keys.shape
    kept = {id(one.layers): one.layers[0][0].shape for one in batch._shared}
    return rows * room + sum(count * columns for count, _, columns, _ in kept.values())


@pytest.mark.parametrize("most", [1, 100, 200, 400, 800])
def test_rows_that_join_a_batch_are_completed_as_in_one_that_holds_all(lm, rows, most):
    check_same(*(draw(lm.model, rows, size) for size in (WHOLE, most)))


def test_rows_that_leave_a_batch_that_can_not_share_leave_the_others_alone(lm, rows):
    values: dict[str, Any] = {**lm.model.config.to_dict(), "sliding_window": 500}
    torch.manual_seed(0)
    model: Any = MistralForCausalLM(MistralConfig(**values)).eval()
    together = draw(model, rows, 600)
    check_same(together, [draw(model, [row], WHOLE)[0] for row in rows])


@pytest.fixture
def batch_sizes(monkeypatch):
    """How many rows each step had; nobody's keys may take more than `MOST` tokens."""
    sizes, advance = [], DecodingBatch.advance

    def spy(batch, model, tokens):
        sizes.append(len(batch.places))
        assert tokens_of(batch) <= MOST
        return advance(batch, model, tokens)

    monkeypatch.setattr(DecodingBatch, "advance", spy)
    return sizes


def test_rows_join_while_others_are_decoded_and_never_need_more_memory(lm, begun, batch_sizes):
    asked = [request(f"why {seed // 8}?", seed) for seed in range(200)]
    drawn = draw(lm.model, lm.rows(asked, Sampling(1.0, 60)), MOST, tokens=60)
    lengths = [len(one.token_ids) for one in drawn]
    assert len(begun) > 5
    # One batch after another would wait for the longest of each.
    alone = sum(max(lengths[at : at + begun[0]]) for at in range(0, 200, begun[0]))
    assert sum(lengths) / max(batch_sizes) < len(batch_sizes) < 0.8 * alone


def test_rows_that_join_look_at_the_head_that_is_there(lm, begun, monkeypatch):
    products, advance = [], DecodingBatch.advance

    def spy(batch, model, tokens):
        products.append([one for one in batch._shared if one.mask is None])
        return advance(batch, model, tokens)

    monkeypatch.setattr(DecodingBatch, "advance", spy)
    asked = [request(f"why {seed}?", seed) for seed in range(60)]
    draw(lm.model, lm.rows(asked, Sampling(1.0, 60)), MOST, tokens=60)
    assert len(begun) > 5
    assert all(len(heads) == 1 for heads in products)
    assert len({id(head.layers) for [head] in products}) == 1


def test_rows_that_end_with_their_first_token_leave_the_others_alone(lm):
    rows = [Row(tuple(lm.encode(request("why?", 0).messages)), None, seed) for seed in range(40)]
    whole = draw(lm.model, rows, WHOLE, tokens=6, ends=())
    ends = frozenset(one.token_ids[0] for one in whole[:25])
    cut = draw(lm.model, rows, WHOLE, tokens=6, ends=ends)
    for one, other in zip(cut, whole, strict=True):
        assert one.token_ids == other.token_ids[: len(one.token_ids)]
        assert one.ended == (one.token_ids[-1] in ends)
        assert one.ended or len(one.token_ids) == 6
    assert any(len(one.token_ids) > 1 for one in cut)


def test_a_batch_counts_a_prompt_once_and_what_is_drawn_for_every_row(lm, begun):
    prompts = [tuple(lm.encode(request(f"why {i}?", 0).messages)) for i in range(3)]
    rows = [Row(prompt, None, seed) for prompt in prompts for seed in range(8)]
    longest = max(map(len, prompts))
    for most in (3 * longest + 24 * 5, 3 * longest + 24 * 5 - 1, longest + 8 * 5):
        draw(lm.model, rows, most, tokens=5, ends=())
        begun.append(0)
    assert begun == [24, 0, 23, 1, 0, 8, 8, 8, 0]


def test_waiting_rows_count_a_head_once_where_it_is_shared():
    head = tuple(range(100))
    rows = [Row((*head, i), "head", i, head) for i in range(10)]
    taken = [WaitingRows(rows, share=share).take(130, 2, least=1) for share in (True, False)]
    assert [len(places) for places in taken] == [10, 1]


def test_a_row_too_large_is_handed_out_only_where_one_must_be():
    waiting = WaitingRows([Row(tuple(range(100)), None, 0)], share=True)
    assert waiting.take(50, 5, least=0) == []
    assert waiting.take(50, 5, least=1) == [0]
    assert not waiting
