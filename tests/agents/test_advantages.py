"""Advantages compare a reward with its group's, as TRL computes them."""

import numpy as np
import pytest

from progym.agents.grpo.advantages import group_advantages, is_level

REWARDS = [(0.0, 1.0, 1.0, 0.0), (0.25, 0.75)]


def test_rewards_are_centred_and_divided_by_the_groups_spread():
    spread = np.sqrt(1 / 3)  # of 0, 1, 1, 0 with n - 1
    expected = 0.5 / (spread + 1e-4)
    np.testing.assert_allclose(group_advantages(REWARDS)[0], np.array([-1, 1, 1, -1]) * expected)


def test_none_leaves_the_differences_from_the_mean():
    np.testing.assert_allclose(group_advantages(REWARDS, "none")[1], [-0.25, 0.25])


def test_batch_divides_by_the_spread_of_all_rewards():
    spread = np.std([0.0, 1.0, 1.0, 0.0, 0.25, 0.75], ddof=1)
    np.testing.assert_allclose(group_advantages(REWARDS, "batch")[1][1], 0.25 / (spread + 1e-4))


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("reward", [0.1, -1.0, 0.0])
def test_a_group_without_variance_gets_exact_zeros(scale, reward):
    level = [reward] * 7  # the float mean of seven 0.1 is not 0.1
    assert not group_advantages([level, (0.0, 1.0)], scale)[0].any()
    assert is_level(level)


def test_mistake_3_a_reward_of_zero_is_a_reward():
    low, zero, high = group_advantages([(-1.0, 0.0, 1.0)])[0]
    assert low < zero < high
    assert zero == 0.0


def test_no_groups_have_no_advantages():
    assert group_advantages([]) == []
