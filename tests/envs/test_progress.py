"""A task may say how far an episode has come; calls know it, and learners credit them by it."""

import pytest


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), "much", None])
def test_progress_that_is_no_share_is_the_programs_fault(toy, value):
    _, info = toy.make(progress=lambda example, asks: value).reset(seed=0)
    assert info["record"].status == "fault"
    assert "Progress must be a number in [0, 1]" in info["fault"]


def test_calls_know_how_far_the_episode_had_come(toy):
    record = toy.play(toy.make(progress=lambda example, asks: len(asks) / 4))
    assert [call.progress for call in record.calls] == [0.0, 0.25, 0.5]
    assert {call.progress for call in toy.play(toy.make()).calls} == {None}


def test_info_tells_progress_only_where_the_task_measures_it(toy):
    _, told = toy.make(progress=lambda example, asks: 0.5).reset(seed=0)
    _, untold = toy.make().reset(seed=0)
    assert told["progress"] == 0.5
    assert "progress" not in untold


def test_fields_that_could_not_be_read_are_named_in_the_record(toy):
    def replies(env):
        text = toy.gold_reply(env)
        return "Reasoning: so" if "Verdict" in text else text

    assert toy.play(toy.make(), replies).calls[-1].missing == ("verdict",)
