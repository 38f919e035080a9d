"""Padding lines up the calls of runs that call a module a different number of times."""

import numpy as np
import pytest

from progym.agents.grpo.padding import PADDINGS, Member, fill, ragged, truncate
from progym.envs.records import CallRecord


def runs(*lengths):
    """Runs with so many calls of one module; a call is known by (run, occurrence)."""
    return [
        [
            Member(run, (k,), (CallRecord("m", k, (), f"{run}.{k}", {}),), float(run))
            for k in range(length)
        ]
        for run, length in enumerate(lengths)
    ]


def names(slots):
    return [[member.calls[0].completion for member in slot] for slot in slots]


def rng(seed=0):
    return np.random.default_rng(seed)


def test_truncate_keeps_the_occurrences_that_all_runs_have():
    assert names(truncate(runs(3, 1, 2), rng())) == [["0.0", "1.0", "2.0"]]


def test_mistake_2_ragged_takes_unequal_call_counts():
    slots = names(ragged(runs(3, 1, 2), rng()))
    assert slots == [["0.0", "1.0", "2.0"], ["0.1", "2.1"], ["0.2"]]


def test_fill_draws_missing_calls_from_the_runs_own():
    slots = fill(runs(4, 1, 2), rng())
    assert [len(slot) for slot in slots] == [3, 3, 3, 3]
    assert all([member.run for member in slot] == [0, 1, 2] for slot in slots)
    assert names(slots)[0] == ["0.0", "1.0", "2.0"]


def test_fill_draws_with_replacement_from_all_of_the_runs_calls():
    drawn = [names(fill(runs(40, 3), rng()))[k][1] for k in range(3, 40)]
    assert set(drawn) == {"1.0", "1.1", "1.2"}


@pytest.mark.parametrize("seed", [0, 1])
def test_seed_0_is_a_seed_like_any_other(seed):
    once, again = (names(fill(runs(20, 3), rng(seed))) for _ in range(2))
    assert once == again
    assert once != names(fill(runs(20, 3), rng(seed + 2)))


@pytest.mark.parametrize("name", PADDINGS)
def test_equal_call_counts_are_left_as_they_are(name):
    assert names(PADDINGS[name](runs(2, 2), rng())) == [["0.0", "1.0"], ["0.1", "1.1"]]


@pytest.mark.parametrize("name", PADDINGS)
def test_mistake_9_no_runs_give_no_groups(name):
    assert PADDINGS[name]([], rng()) == []


@pytest.mark.parametrize("name", ["fill", "ragged"])
def test_every_call_is_kept(name):
    kept = {call for slot in names(PADDINGS[name](runs(4, 1, 2), rng())) for call in slot}
    assert kept == {"0.0", "0.1", "0.2", "0.3", "1.0", "2.0", "2.1"}
