"""Selection keeps the members of a group that differ most in reward."""

import pytest

from progym.agents.grpo.padding import Member
from progym.agents.grpo.selection import select_k_diverse
from progym.envs.records import CallRecord


def members(*rewards):
    call = CallRecord("m", 0, (), "", {})
    return [Member(run, (0,), (call,), reward) for run, reward in enumerate(rewards)]


def kept(rewards, size):
    return [member.reward for member in select_k_diverse(members(*rewards), size)]


def test_evenly_spaced_ranks_with_both_ends_are_kept():
    assert sorted(kept([4.0, 0.0, 3.0, 1.0, 2.0], 3)) == [0.0, 2.0, 4.0]


def test_members_stay_in_their_order():
    assert kept([4.0, 0.0, 3.0, 1.0, 2.0], 3) == [4.0, 0.0, 2.0]


@pytest.mark.parametrize("size", [4, 5])
def test_a_group_that_is_not_too_large_stays_as_it_is(size):
    assert kept([1.0, 0.0, 1.0, -1.0], size) == [1.0, 0.0, 1.0, -1.0]


@pytest.mark.parametrize("size", range(1, 12))
def test_no_member_is_kept_twice(size):
    runs = [member.run for member in select_k_diverse(members(*range(12)), size)]
    assert len(set(runs)) == len(runs) == size


def test_ties_are_broken_by_order():
    assert [m.run for m in select_k_diverse(members(0.0, 0.0, 0.0, 1.0), 2)] == [0, 3]
