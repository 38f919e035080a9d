"""Grouping makes of episodes the groups whose rewards are compared."""

import numpy as np
import pytest

from progym.agents.grpo.forming import form_groups
from progym.agents.grpo.grouping import GROUPINGS, by_module
from progym.agents.grpo.padding import PADDINGS
from progym.agents.grpo.rules import GroupRules
from progym.envs.records import CallRecord, Episode, Status


def episode(example, modules, reward, *, status: Status = "ok"):
    """An episode that calls modules by their first letters; completions name what they are."""
    calls, seen = [], {}
    for module in modules:
        occurrence = seen[module] = seen.get(module, -1) + 1
        completion = f"{module}{occurrence}@{reward}"
        calls.append(CallRecord(module, occurrence, (), completion, {}))
    return Episode("e", {}, "", "train", example, 0, tuple(calls), (), status, reward, None)


def form(*episodes, size=12, seed=0, **rules):
    return form_groups(episodes, np.random.default_rng(seed), size=size, rules=GroupRules(**rules))


def found(formed):
    """Groups as {example/module:occurrence: completions}."""
    return {
        f"{group.example_id}/{group.step_type}": [
            " ".join(call.completion for call in member.calls) for member in group.members
        ]
        for group in formed.groups
    }


def test_calls_of_one_module_and_occurrence_share_a_group():
    formed = form(episode("x", "aba", 1.0), episode("x", "aba", 0.0))
    assert found(formed) == {
        "x/a:0": ["a0@1.0", "a0@0.0"],
        "x/a:1": ["a1@1.0", "a1@0.0"],
        "x/b:0": ["b0@1.0", "b0@0.0"],
    }


def test_examples_are_never_compared():
    formed = form(*(episode(name, "a", reward) for name in "xy" for reward in (0.0, 1.0)))
    assert [(group.example_id, group.rewards) for group in formed.groups] == [
        ("x", (0.0, 1.0)),
        ("y", (0.0, 1.0)),
    ]


def test_the_final_reward_goes_to_every_call():
    formed = form(episode("x", "aab", 0.5), episode("x", "aab", -1.0))
    assert {group.rewards for group in formed.groups} == {(0.5, -1.0)}


@pytest.mark.parametrize("name", PADDINGS)
def test_mistake_1_a_run_without_a_module_drops_no_other_runs_calls(name):
    episodes = [episode("x", "ab", 1.0), episode("x", "ab", 0.0), episode("x", "a", -1.0)]
    formed = form(*episodes, padding=name)
    assert found(formed)["x/b:0"] == ["b0@1.0", "b0@0.0"]
    assert len(found(formed)["x/a:0"]) == 3


def test_mistake_2_call_counts_may_differ():
    formed = form(episode("x", "aaa", 1.0), episode("x", "aa", 0.0), padding="ragged")
    assert found(formed) == {"x/a:0": ["a0@1.0", "a0@0.0"], "x/a:1": ["a1@1.0", "a1@0.0"]}
    assert formed.singles == 1


def test_mistake_3_a_reward_of_zero_stays_zero():
    assert form(episode("x", "a", 0.0), episode("x", "a", 1.0)).groups[0].rewards == (0.0, 1.0)


def test_mistake_7_an_unreadable_call_keeps_its_failure_reward():
    formed = form(episode("x", "a", -1.0, status="parse_failure"), episode("x", "ab", 1.0))
    assert found(formed)["x/a:0"] == ["a0@-1.0", "a0@1.0"]


def test_mistake_8_modules_are_told_apart_by_name_alone():
    formed = form(episode("x", "ab", 1.0), episode("x", "ba", 0.0))
    assert found(formed) == {"x/a:0": ["a0@1.0", "a0@0.0"], "x/b:0": ["b0@1.0", "b0@0.0"]}


def test_mistake_9_nothing_stands_in_for_a_run_that_is_missing():
    formed = form(episode("x", "a", 1.0), episode("x", "a", 0.0), size=12)
    assert [len(group.members) for group in formed.groups] == [2]
    assert form().groups == ()


def test_faults_are_left_out_and_counted():
    fault = episode("x", "ab", 0.0, status="fault")
    formed = form(episode("x", "a", 1.0), fault, episode("x", "a", 0.0))
    assert found(formed) == {"x/a:0": ["a0@1.0", "a0@0.0"]}
    assert formed.faults == 1


def test_groups_of_one_are_dropped_and_counted():
    formed = form(episode("x", "a", 1.0), episode("y", "aa", 0.0))
    assert (formed.groups, formed.singles) == ((), 3)


def test_more_rollouts_than_members_are_selected_from():
    formed = form(*(episode("x", "a", reward) for reward in (0.0, 0.5, 0.5, 1.0)), size=2)
    assert formed.groups[0].rewards == (0.0, 1.0)


def test_seed_0_gives_the_same_groups_each_time():
    episodes = [episode("x", "a" * 30, 1.0), episode("x", "aaa", 0.0)]
    assert form(*episodes) == form(*episodes)
    assert form(*episodes) != form(*episodes, seed=1)


@pytest.mark.parametrize("name", GROUPINGS)
def test_every_grouping_compares_each_run_of_an_example_with_others_of_it(name):
    episodes = [episode(x, "aba", reward) for x in "xy" for reward in (0.0, 1.0, 0.5)]
    formed = form(*episodes, grouping=name)
    assert {group.example_id for group in formed.groups} == {"x", "y"}
    for group in formed.groups:
        assert {episodes[m.run].example_id for m in group.members} == {group.example_id}
        assert all(
            m.calls == tuple(episodes[m.run].calls[p] for p in m.places) for m in group.members
        )


def test_trajectories_are_groups_of_whole_runs():
    formed = form(episode("x", "aba", 1.0), episode("x", "a", 0.0), grouping="trajectory")
    assert found(formed) == {"x/None": ["a0@1.0 b0@1.0 a1@1.0", "a0@0.0"]}
    assert formed.groups[0].rewards == (1.0, 0.0)


def test_a_grouping_of_ones_own_is_a_function():
    def everything(runs, padding, rng):
        return {None: [m for slot in by_module(runs, padding, rng).values() for m in slot]}

    formed = form(episode("x", "ab", 1.0), episode("x", "ab", 0.0), grouping=everything)
    assert found(formed) == {"x/None": ["a0@1.0", "a0@0.0", "b0@1.0", "b0@0.0"]}


FAILED = episode("x", "ab", -1.0, status="parse_failure")


def test_of_a_failed_run_the_failing_call_alone_may_be_trained_on():
    good = episode("x", "abb", 1.0)
    other = episode("x", "abb", 0.0)
    formed = form(good, other, FAILED, failed_runs="failing_call", padding="truncate")
    assert found(formed) == {
        "x/a:0": ["a0@1.0", "a0@0.0"],
        "x/b:0": ["b0@1.0", "b0@0.0", "b0@-1.0"],
    }
    runs = form(good, FAILED, failed_runs="failing_call", grouping="trajectory")
    assert found(runs) == {"x/None": ["a0@1.0 b0@1.0 b1@1.0", "b0@-1.0"]}
