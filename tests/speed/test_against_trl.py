"""A step of mmGRPO against TRL's own path: same prompts, completions, weights; then speed.

A step is 4 examples x 12 runs of a program with two modules, 96 calls: a rollout of 64 tokens each
and an update. In CPU seconds of one thread, taking turns. SmolLM2 takes one turn where prompts are
long, of 44 minutes, and three of 9 minutes where they are plain; without its package it is skipped.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from grpo_sides import Ours, Theirs
from grpo_turns import Turn, check_equal, take_turns
from grpo_workload import COMPOSED, PLAIN, Prompts, Scenario, make_prompts, share_of_head
from pytest_benchmark.fixture import BenchmarkFixture

from progym.agents.grpo.batch import Row
from progym.envs.errors import MissingExtra

# transformers, peft and trl warn about each other's deprecated names.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

RATIO_WANTED = {PLAIN: 3, COMPOSED: 8}
ROUNDS = {
    ("tiny", PLAIN): 3,
    ("tiny", COMPOSED): 3,
    ("smollm2", PLAIN): 3,
    ("smollm2", COMPOSED): 1,
}
CHECKED = {"tiny": 12, "smollm2": 2}
"""Calls of each module on which both sides must agree before they are timed."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("model", ["tiny", "smollm2"])
@pytest.mark.parametrize("scenario", [PLAIN, COMPOSED], ids=["plain", "composed"])
def test_step_against_trl(
    model: str,
    scenario: Scenario,
    tmp_path,
    benchmark: BenchmarkFixture,
    say: Callable[[str], None],
) -> None:
    try:
        ours, theirs = Ours(model, tmp_path), Theirs(model, tmp_path)
    except MissingExtra as error:
        pytest.skip(str(error))
    prompts = make_prompts(scenario)
    say(describe(model, scenario, prompts, ours))
    check_equal(ours, theirs, prompts, calls=CHECKED[model])
    rows: list[Row] = []
    turns: list[tuple[Turn, Turn]] = []

    benchmark.pedantic(
        lambda: turns.append(take_turns(ours, theirs, prompts, rows)),
        rounds=ROUNDS[model, scenario],
    )

    for part in ("rollout", "update", "whole"):
        say(compare(part, turns))
    ratios = [two.whole.seconds / one.whole.seconds for one, two in turns]
    ratio = statistics.median(ratios)
    benchmark.extra_info["ratio"] = round(ratio, 1)
    say(
        f"  ratio of whole steps: {ratio:.1f}, {min(ratios):.1f} to {max(ratios):.1f} in "
        f"{len(ratios)} turns (wanted: {RATIO_WANTED[scenario]})"
    )
    assert ratio >= RATIO_WANTED[scenario]


def describe(model: str, scenario: Scenario, prompts: Prompts, ours: Ours) -> str:
    """Say how long prompts are and how alike; the composed ones are as long as they must be."""
    encoded = [[ours.lm.encode(call) for call in calls] for calls in prompts.values()]
    shortest = min(len(call) for calls in encoded for call in calls)
    sizes = [sum(map(len, calls)) for calls in encoded]
    shared = sum(share_of_head(calls) * size for calls, size in zip(encoded, sizes, strict=True))
    shared /= sum(sizes)
    if scenario is COMPOSED:
        assert shortest >= 600
        assert shared >= 0.9
    means = " and ".join(
        f"{size / len(calls):.0f}" for calls, size in zip(encoded, sizes, strict=True)
    )
    return f"{model}, {scenario.name}: {means} tokens on average, {shared:.0%} of them shared"


def compare(part: str, turns: Sequence[tuple[Turn, Turn]]) -> str:
    """Set the two sides of a part side by side, by their medians."""
    spent = [(getattr(one, part), getattr(two, part)) for one, two in turns]
    ratio = statistics.median(two.seconds / one.seconds for one, two in spent)
    mine, other = (
        statistics.median(side.seconds for side in sides) for sides in zip(*spent, strict=True)
    )
    peaks = [max(side.mib for side in sides) for sides in zip(*spent, strict=True)]
    return (
        f"  {part}: {mine:.1f} CPU-seconds, TRL {other:.1f}, ratio {ratio:.1f}; "
        f"peak memory {peaks[0]:,.0f} MiB, TRL {peaks[1]:,.0f}"
    )
