"""Rows and tensors hold what was sampled, and only completions are trained on."""

import numpy as np
import pytest

from progym.agents.grpo.batch import Row, make_batch, make_rows, to_tensors
from progym.agents.grpo.config import LossType
from progym.agents.grpo.forming import form_groups
from progym.agents.grpo.rules import GroupRules
from progym.envs.errors import BadValue
from progym.envs.module import StepType
from progym.envs.records import CallRecord, Episode

A, B = StepType("a", 0), StepType("b", 1)
ROWS = [Row(A, (1, 2, 3), (4,), 0.5), Row(B, (5,), (6, 7), 0.0), Row(A, (8,), (9,), -0.5)]


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
    tensors = to_tensors(make_batch(ROWS, beta=0.1), [A, B], pad_id=0)
    assert tensors["completion_ids"].tolist() == [[4, 0], [6, 7], [9, 0]]
    assert tensors["completion_mask"].tolist() == [[1, 0], [1, 1], [1, 0]]
    assert tensors["prompt_ids"].tolist() == [[1, 2, 3], [0, 0, 5], [0, 0, 8]]
    assert tensors["num_items_in_batch"] == 4


def test_rows_without_advantage_are_left_out_only_without_a_kl_term():
    assert len(make_batch(ROWS, beta=0.0).rows) == 2
    assert len(make_batch(ROWS, beta=0.04).rows) == 3


@pytest.mark.parametrize(
    ("loss_type", "scale"),
    [("grpo", 2 / 3), ("dr_grpo", 2 / 3), ("bnpo", 1 / 2), ("dapo", 1.0), ("cispo", 1.0)],
)
def test_the_loss_still_divides_by_all_rows(loss_type, scale):
    batch = make_batch(ROWS, beta=0.0)
    assert batch.loss_scale(loss_type, 2, 2) == pytest.approx(scale)
    assert batch.token_count == 4


def test_a_step_without_rows_becomes_a_neutral_row():
    tensors = to_tensors(make_batch([], beta=0.0), [], pad_id=3)
    assert tensors["prompt_ids"].tolist() == [[0]]
    assert not tensors["completion_mask"].any()
    assert tensors["advantages"].tolist() == [0.0]


def run(reward, *lengths):
    calls = tuple(call(tuple(range(n))) for n in lengths)
    return Episode("e", {}, "", "train", "x", 0, calls, (), "ok", reward, reward)


def rows_of(episodes, *, loss_type: LossType = "grpo", **rules):
    formed = form_groups(
        episodes, np.random.default_rng(0), size=12, rules=GroupRules(scale_rewards="none", **rules)
    )
    return make_rows(formed.groups, loss_type=loss_type)


def test_groups_weigh_the_same_whatever_their_sizes():
    ragged = [run(1.0, 2, 2), run(0.0, 2, 2), run(1.0, 2), run(0.0, 2)]
    rows = rows_of(ragged, padding="ragged")
    first, second = rows[:4], rows[4:]  # occurrences 0 and 1
    assert sum(abs(row.advantage) for row in first) == pytest.approx(1.5)
    assert sum(abs(row.advantage) for row in second) == pytest.approx(1.5)


def test_groups_of_one_size_weigh_one():
    assert {abs(row.advantage) for row in rows_of([run(1.0, 3, 1), run(0.0, 2, 5)])} == {0.5}


def test_a_whole_run_is_averaged_over_the_tokens_of_all_its_calls():
    """TRL's loss averages each row over its tokens, then rows; here runs are averaged so."""
    episodes = [run(1.0, 2, 6), run(0.0, 4)]
    rows = rows_of(episodes, grouping="trajectory")
    per_token = [row.advantage / len(row.token_ids) / len(rows) for row in rows]
    assert per_token == pytest.approx([0.5 / 8 / 2, 0.5 / 8 / 2, -0.5 / 4 / 2])


@pytest.mark.parametrize("loss_type", ["dapo", "bnpo", "dr_grpo", "cispo"])
def test_losses_that_average_over_tokens_take_a_runs_tokens_alike(loss_type):
    rows = rows_of([run(1.0, 2, 6), run(0.0, 4)], grouping="trajectory", loss_type=loss_type)
    assert [row.advantage for row in rows] == [0.5, 0.5, -0.5]
