"""Rows and tensors hold what was sampled, and only completions are trained on."""

import numpy as np
import pytest

from progym.agents.grpo.batch import Row, make_batch, make_rows, to_tensors
from progym.agents.grpo.grouping import form_groups
from progym.envs.errors import BadValue
from progym.envs.records import CallRecord, Episode

ROWS = [Row("a", (1, 2, 3), (4,), 0.5), Row("b", (5,), (6, 7), 0.0), Row("a", (8,), (9,), -0.5)]


def groups(*calls, rewards=(0.0, 1.0)):
    episodes = [
        Episode("e", {}, "", "train", "x", 0, (call,), (), "ok", reward, reward)
        for call, reward in zip(calls, rewards, strict=True)
    ]
    return form_groups(episodes, np.random.default_rng(0), size=12).groups


def call(token_ids, prompt_ids=(1, 2)):
    return CallRecord("a", 0, (), "text", {}, prompt_ids=prompt_ids, token_ids=token_ids)


def test_mistake_6_rows_hold_the_sampled_ids():
    rows = make_rows(groups(call((7, 7, 9)), call((3,), prompt_ids=(5, 5, 5))))
    assert [(row.prompt_ids, row.token_ids) for row in rows] == [
        ((1, 2), (7, 7, 9)),
        ((5, 5, 5), (3,)),
    ]


def test_a_model_without_token_ids_is_refused():
    with pytest.raises(BadValue, match="no token ids"):
        make_rows(groups(call(()), call((1,))))


def test_mistake_11_no_prompt_token_is_masked_in():
    tensors = to_tensors(make_batch(ROWS, loss_type="dapo", beta=0.1), ["a", "b"], pad_id=0)
    assert tensors["completion_ids"].tolist() == [[4, 0], [6, 7], [9, 0]]
    assert tensors["completion_mask"].tolist() == [[1, 0], [1, 1], [1, 0]]
    assert tensors["prompt_ids"].tolist() == [[1, 2, 3], [0, 0, 5], [0, 0, 8]]
    assert tensors["num_items_in_batch"] == 4


def test_rows_without_advantage_are_left_out_only_without_a_kl_term():
    assert len(make_batch(ROWS, loss_type="grpo", beta=0.0).rows) == 2
    assert len(make_batch(ROWS, loss_type="grpo", beta=0.04).rows) == 3


@pytest.mark.parametrize(
    ("loss_type", "scale"),
    [("grpo", 2 / 3), ("dr_grpo", 2 / 3), ("bnpo", 1 / 2), ("dapo", 1.0), ("cispo", 1.0)],
)
def test_the_loss_still_divides_by_all_rows(loss_type, scale):
    batch = make_batch(ROWS, loss_type=loss_type, beta=0.0)
    assert batch.loss_scale == pytest.approx(scale)
    assert batch.tokens == 4


def test_a_step_without_rows_becomes_a_neutral_row():
    tensors = to_tensors(make_batch([], loss_type="grpo", beta=0.0), [], pad_id=3)
    assert tensors["prompt_ids"].tolist() == [[3]]
    assert not tensors["completion_mask"].any()
    assert tensors["advantages"].tolist() == [0.0]
