"""Rows leave the batch as they finish, and waiting ones take their room."""

import pytest
from mixed_requests import mixed_requests, request

from progym.agents.model import Sampling
from progym.agents.models import decoding, load_trainable
from progym.agents.models.decoding import sample
from progym.agents.models.decoding_batch import DecodingBatch
from progym.agents.models.prefill import Row, prefill
from progym.agents.models.waiting_rows import WaitingRows

WHOLE = 10**6
ENDS = range(0, 90, 8)


@pytest.fixture(scope="module")
def lm(random_lm):
    return load_trainable(str(random_lm))


@pytest.fixture(scope="module")
def rows(lm):
    return lm.rows(mixed_requests(40), Sampling(1.0, 12))


@pytest.fixture
def batches(monkeypatch):
    """How many rows were begun together, in order."""
    begun = []
    monkeypatch.setattr(decoding, "prefill", lambda *a: begun.append(len(a[1])) or prefill(*a))
    return begun


def draw(lm, rows, most, *, tokens=12, ends=None):
    ends = lm.eos_ids if ends is None else frozenset(ends)
    return sample(lm.model, rows, Sampling(1.0, tokens), eos_ids=ends, max_tokens=most)


@pytest.mark.parametrize("most", [1, 100, 200, 400, 800])
def test_rows_that_join_a_batch_are_completed_as_in_one_that_holds_all(lm, rows, most):
    whole, cut = (draw(lm, rows, size, ends=ENDS) for size in (WHOLE, most))
    assert [one.token_ids for one in cut] == [one.token_ids for one in whole]
    for one, other in zip(cut, whole, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    assert len({len(one.token_ids) for one in whole}) > 3


def test_rows_join_while_others_are_decoded_and_never_need_more_memory(lm, monkeypatch, batches):
    seen, most = [], 30 * 64
    advance = DecodingBatch.advance

    def spy(batch, model, tokens):
        seen.append(len(batch.places))
        assert batch.tokens_kept() <= most
        return advance(batch, model, tokens)

    monkeypatch.setattr(DecodingBatch, "advance", spy)
    rows = [Row(tuple(lm.encode(request("why?", 0).messages)), None, seed) for seed in range(200)]
    drawn = draw(lm, rows, most, tokens=60, ends=ENDS)
    written = sum(len(one.token_ids) for one in drawn)
    assert len(batches) > 5
    # One batch after another would wait for the longest of each.
    alone = sum(max(len(one.token_ids) for one in drawn[at : at + 25]) for at in range(0, 200, 25))
    assert written / batches[0] < len(seen) < 0.8 * alone


def test_rows_that_end_with_their_first_token_leave_the_others_alone(lm):
    rows = [Row(tuple(lm.encode(request("why?", 0).messages)), None, seed) for seed in range(40)]
    whole = draw(lm, rows, WHOLE, tokens=6, ends=())
    ends = frozenset(one.token_ids[0] for one in whole[:25])
    cut = draw(lm, rows, WHOLE, tokens=6, ends=ends)
    for one, other in zip(cut, whole, strict=True):
        assert one.token_ids == other.token_ids[: len(one.token_ids)]
        assert one.ended == (one.token_ids[-1] in ends)
        assert one.ended or len(one.token_ids) == 6
    assert any(len(one.token_ids) > 1 for one in cut)


def test_a_batch_counts_a_prompt_once_and_what_is_drawn_for_every_row(lm, batches):
    prompts = [tuple(lm.encode(request(f"why {i}?", 0).messages)) for i in range(3)]
    rows = [Row(prompt, None, seed) for prompt in prompts for seed in range(8)]
    longest = max(map(len, prompts))
    for most in (3 * longest + 24 * 5, 3 * longest + 24 * 5 - 1, longest + 8 * 5):
        draw(lm, rows, most, tokens=5, ends=())
        batches.append(0)
    assert batches == [24, 0, 23, 1, 0, 8, 8, 8, 0]


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
