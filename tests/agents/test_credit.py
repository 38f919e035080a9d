"""Credit gives each call of an episode its reward."""

import pytest

from progym.agents.grpo.config import config_from
from progym.agents.grpo.credit import CREDITS, FAILED_RUNS, UNREADABLE, final, soft, to_go
from progym.agents.grpo.rules import GroupRules
from progym.envs.errors import BadValue, UnknownName
from progym.envs.records import CallRecord, Episode, Status


def call(progress=None, *, fields=(), missing=()):
    values = dict.fromkeys(fields, "text")
    return CallRecord("m", 0, (), "", values, missing=missing, progress=progress)


def episode(*calls, reward=1.0, status: Status = "ok"):
    return Episode("e", {}, "", "train", "x", 0, calls, (), status, reward, max(reward, 0.0))


def failed(*, fields, missing, reward=-1.0):
    last = call(0.5, fields=fields, missing=missing)
    return episode(call(0.0, fields=("a",)), last, reward=reward, status="parse_failure")


def test_the_final_reward_goes_to_every_call():
    assert final(episode(call(), call(), call()), 0.25) == [0.25] * 3


def test_a_call_is_credited_with_what_came_after_it():
    hops = episode(call(0.25), call(0.25), call(0.5), call(1.0))
    assert to_go(hops, 1.0) == [0.75, 0.75, 0.5, 0.0]


def test_credit_by_progress_needs_a_task_that_measures_it():
    with pytest.raises(BadValue, match="needs a task that measures progress"):
        to_go(episode(call()), 1.0)


@pytest.mark.parametrize(
    ("fields", "missing", "reward"),
    [((), ("a", "b"), -1.0), (("a",), ("b",), -0.5), (("a", "b", "c"), ("d",), -0.25)],
)
def test_mistake_3_an_unreadable_completion_is_rewarded_by_its_missing_fields(
    fields, missing, reward
):
    assert soft(failed(fields=fields, missing=missing)) == reward


def test_mistake_3_a_failure_reward_of_zero_stays_zero():
    assert soft(failed(fields=(), missing=("a",), reward=0.0)) == 0.0


@pytest.mark.parametrize("name", CREDITS)
def test_every_credit_gives_each_call_a_number(name):
    given = CREDITS[name](episode(call(0.0), call(0.5)), 1.0)
    assert [type(value) for value in given] == [float, float]


@pytest.mark.parametrize("name", UNREADABLE)
def test_every_reward_of_the_unreadable_lies_between_the_failure_reward_and_0(name):
    assert UNREADABLE[name](failed(fields=(), missing=("a",))) == -1.0
    assert -1.0 <= UNREADABLE[name](failed(fields=("a",), missing=("b",))) <= 0.0


@pytest.mark.parametrize("name", FAILED_RUNS)
def test_every_rule_for_failed_runs_keeps_the_failing_call(name):
    assert FAILED_RUNS[name](failed(fields=(), missing=("a",)))[-1] == 1


@pytest.mark.parametrize("rule", ["credit", "unreadable", "failed_runs", "grouping"])
def test_an_unknown_rule_is_refused_with_the_nearest(rule):
    with pytest.raises(UnknownName, match=rule):
        config_from({"groups": {rule: "soff"}})


def test_trajectories_are_not_credited_call_by_call():
    with pytest.raises(BadValue, match="grouping 'trajectory'"):
        GroupRules(grouping="trajectory", credit="to_go")
