"""What public implementations get wrong about groups, put so that each mistake of theirs shows."""

import numpy as np
import pytest

from progym.agents.grpo.config import GroupRules
from progym.agents.grpo.forming import form_groups
from progym.agents.grpo.padding import PADDINGS
from progym.envs.records import CallRecord, Episode, Status
from progym.envs.rendering import Message


def run(*modules, reward=1.0, status: Status = "ok", told="Do it."):
    """A run of example "x", its modules told the same."""
    prompt = (Message(role="system", content=told),)
    calls = [
        CallRecord(module, modules[:place].count(module), prompt, f"{module} of {reward}", {})
        for place, module in enumerate(modules)
    ]
    return Episode("e", {}, "", "train", "x", 0, tuple(calls), (), status, reward, 0.0)


def rewards(*runs, **rules):
    formed = form_groups(runs, np.random.default_rng(0), size=12, rules=GroupRules(**rules))
    return {str(group.step_type): group.rewards for group in formed.groups}


@pytest.mark.parametrize("status", ["ok", "parse_failure", "truncated"])
def test_mistake_3_a_reward_of_zero_stays_zero_however_the_run_ended(status):
    assert rewards(run("a", reward=0.0, status=status), run("a")) == {"a:0": (0.0, 1.0)}


def test_mistake_7_calls_before_and_at_an_unreadable_one_earn_the_failure_reward():
    failed = run("a", "b", reward=-1.0, status="parse_failure")
    assert rewards(failed, run("a", "b")) == {"a:0": (-1.0, 1.0), "b:0": (-1.0, 1.0)}


def test_mistake_8_runs_that_were_told_other_things_are_compared():
    runs = [run("a", "b"), run("a", "b", reward=0.0, told="Do it step by step.")]
    assert rewards(*runs) == {"a:0": (1.0, 0.0), "b:0": (1.0, 0.0)}


@pytest.mark.parametrize("padding", PADDINGS)
def test_mistake_9_a_group_that_nobody_is_left_in_is_none(padding):
    failed = [run("a", "b", reward=-1.0, status="parse_failure") for _ in range(2)]
    assert rewards(*failed, padding=padding, failed_runs="failing_call") == {"b:0": (-1.0, -1.0)}
