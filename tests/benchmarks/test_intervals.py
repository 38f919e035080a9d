"""Intervals: numbers by hand, agreement with scipy, and how often they cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from progym.benchmarks.intervals import (
    Scores,
    contrast,
    crossed_bootstrap,
    difference,
    interaction,
    mean_score,
    non_dominated,
    overlap,
    suite_mean,
    wilson,
)
from progym.envs.errors import BadValue


def noisy(seed: int, *, seeds: int = 3, items: int = 50) -> Scores:
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(0.5, 0.15, (seeds, 1)) + rng.normal(0, 0.2, (seeds, items)), 0, 1)


def test_the_two_source_interval_is_what_the_formula_gives_by_hand():
    a = np.array([[0.8, 0.4], [0.6, 0.4]])  # seed means .6 .5 (variance .005), item means .7 .4
    b = np.array([[0.5, 0.3], [0.3, 0.3]])  # seed means .4 .3 (variance .005), item means .4 .3
    # Item differences .3 .1: variance .02. V = .005/2 + .005/2 + .02/2 = .015,
    # df = .015^2 / (.0025^2 + .0025^2 + .01^2) = 2, t(.975, 2) = 4.302653.
    estimate = difference(a, b)
    half = 4.302653 * 0.015**0.5
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (0.2, 0.2 - half, 0.2 + half), abs=1e-6
    )


def test_without_seed_variance_it_is_the_paired_t_interval_of_scipy():
    a, b = noisy(1, seeds=1), noisy(2, seeds=1)
    estimate = difference(np.vstack([a, a, a]), np.vstack([b, b]))
    expected = stats.ttest_rel(a[0], b[0]).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


def test_without_item_variance_it_is_welchs_interval_of_scipy():
    means_a, means_b = np.array([0.3, 0.5, 0.45]), np.array([0.2, 0.1, 0.25, 0.3])
    a, b = np.repeat(means_a[:, None], 9, 1), np.repeat(means_b[:, None], 9, 1)
    estimate = difference(a, b)
    expected = stats.ttest_ind(means_a, means_b, equal_var=False).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


def test_a_mean_score_of_one_seed_says_that_it_covers_items_only():
    scores = noisy(3, seeds=1)
    estimate = mean_score(scores)
    expected = stats.ttest_1samp(scores[0], 0).confidence_interval(0.95)
    assert estimate.method == "items only"
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


def test_the_interaction_is_the_gain_over_the_second_less_the_gain_over_neither():
    arms = [noisy(seed) for seed in range(4)]
    both, second, first, neither = (arm.mean() for arm in arms)
    estimate = interaction(*arms)
    assert estimate.value == pytest.approx((both - second) - (first - neither))
    assert len(estimate.components) == 5


def test_a_suite_mean_averages_values_and_adds_variances_over_tasks_squared():
    one, two = difference(noisy(1), noisy(2)), difference(noisy(3), noisy(4))
    suite = suite_mean([one, two])
    variance = sum(c.variance for c in (*one.components, *two.components)) / 4
    df = variance**2 / sum((c.variance / 4) ** 2 / c.df for c in (*one.components, *two.components))
    assert suite.value == pytest.approx((one.value + two.value) / 2)
    assert suite.high - suite.value == pytest.approx(stats.t.ppf(0.975, df) * variance**0.5)


def test_wilson_agrees_with_scipy():
    expected = stats.binomtest(7, 20).proportion_ci(0.95, method="wilson")
    assert wilson(7 / 20, 20) == pytest.approx((expected.low, expected.high))


def test_constant_scores_get_wilsons_interval_and_never_width_zero():
    perfect = mean_score(np.ones((3, 20)))
    assert (perfect.low, perfect.high) == pytest.approx(wilson(1.0, 20))
    same = difference(np.ones((3, 20)), np.ones((3, 20)))
    assert same.method == "wilson"
    assert same.low < 0 < same.high


def test_a_suite_mean_of_constant_scores_is_not_narrower_than_wilsons_interval():
    perfect = mean_score(np.ones((3, 20)))
    assert suite_mean([perfect]).low <= perfect.low


def test_equal_fractions_count_as_constant_despite_rounding():
    assert mean_score(np.full((3, 7), 0.1 + 0.2)).method == "wilson"


def test_the_bootstrap_repeats_with_its_seed_and_agrees_with_scipy_over_items():
    a, b = noisy(1, seeds=1, items=200), noisy(2, seeds=1, items=200)
    once, again = (crossed_bootstrap([a, b], (1, -1), seed=5) for _ in range(2))
    scipys = stats.bootstrap(
        ((a - b)[0],), np.mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert once == again
    assert once != crossed_bootstrap([a, b], (1, -1), seed=6)
    assert (once.low, once.high) == pytest.approx((scipys.low, scipys.high), abs=0.005)


def test_a_point_is_on_the_front_unless_another_is_as_good_in_both_and_better_in_one():
    points = [(0.5, 0.0), (0.6, 10.0), (0.55, 10.0), (0.6, 10.0), (0.4, 5.0)]
    assert non_dominated(points) == (0, 1, 3)


def test_intervals_that_touch_overlap():
    a = mean_score(noisy(1))
    assert overlap(a, a)
    assert not overlap(mean_score(np.ones((3, 50))), mean_score(np.zeros((3, 50))))


@pytest.mark.parametrize(
    "arms",
    [[np.ones((3, 4)), np.ones((3, 5))], [np.ones(3), np.ones(3)], [np.full((2, 2), np.nan)] * 2],
)
def test_arms_that_cannot_be_paired_are_refused(arms: list[Scores]):
    with pytest.raises(BadValue):
        contrast(arms, (1, -1))


def simulate(rng: np.random.Generator, *, effect: float) -> tuple[Scores, Scores]:
    """Bernoulli items with shared difficulties; each seed of each arm shifts all of its logits."""
    items = rng.normal(0, 1.5, 200)
    arms: list[Scores] = []
    for shift in (effect, 0.0):
        logits = shift + rng.normal(0, 0.4, (3, 1)) + items
        arms.append((rng.random((3, 200)) < 1 / (1 + np.exp(-logits))).astype(float))
    return arms[0], arms[1]


def true_difference(effect: float) -> float:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, (1.5**2 + 0.4**2) ** 0.5, 400_000)
    means = [(1 / (1 + np.exp(-(logits + shift)))).mean() for shift in (effect, 0.0)]
    return float(means[0] - means[1])


def test_the_interval_covers_the_truth_about_nineteen_times_in_twenty_at_three_seeds():
    rng, effect = np.random.default_rng(11), 0.5
    truth = true_difference(effect)
    estimates = [difference(*simulate(rng, effect=effect)) for _ in range(400)]
    covered = np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])
    assert 0.92 <= covered <= 0.99
