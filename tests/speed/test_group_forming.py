"""Forming the groups of a step against dspy: the same groups where it is right, then speed.

Both are given the same runs of HoVer with five hops, eight calls each. dspy keeps no prompts and
renders every call's again, twice, which is most of its time; our records hold what was sampled.
Ours computes advantages, too; dspy leaves them to its job. Both in CPU seconds, taking turns.
"""

import statistics
from collections.abc import Callable
from dataclasses import replace

import dspy
import numpy as np
import pytest
from dspy_groups import Groups, as_sent, form, rendered
from pytest_benchmark.fixture import BenchmarkFixture

from progym.agents.grpo.config import GroupRules
from progym.agents.grpo.forming import form_groups
from progym.envs.records import Completion, Episode
from progym.envs.tasks.hover import append_notes, generate_query, make_env

EXAMPLES, RUNS, CALLS = 4, 12, 8
ROUNDS = 15
OUR_TURNS = 100  # for each of dspy's, so that both turns take about as long
RATIO_WANTED = 100
ADAPTERS = {"chat": dspy.ChatAdapter(), "xml": dspy.XMLAdapter()}
"""What dspy samples with, and what its GRPO renders with unless told otherwise."""


class DspyHover(dspy.Module):
    """The two modules of HoVer; its runs are given."""

    def __init__(self) -> None:
        super().__init__()
        searching = "claim, key_facts: list[str] -> followup_search_query"
        noting = "claim, key_facts: list[str], new_search_results: list[str] -> new_key_facts"
        self.generate_query = dspy.Predict(
            dspy.make_signature(searching, generate_query.instruction)
        )
        self.append_notes = dspy.Predict(dspy.make_signature(noting, append_notes.instruction))


PROGRAM = DspyHover()


@pytest.fixture(scope="module")
def played() -> list[Episode]:
    """Runs of the gold policy whose every reply says whose it is; rewards in sixteenths."""
    env = make_env(hops=1 + CALLS // 2)
    episodes: list[Episode] = []
    for number, example_id in enumerate(env.examples.ids[:EXAMPLES]):
        for run in range(RUNS):
            _, info = env.reset(options={"example_id": example_id})
            while "record" not in info:
                mark = f" ({run}, {info['call'].occurrence})"
                fields = {name: text + mark for name, text in env.gold_fields().items()}
                info = env.step(Completion("", fields=fields))[-1]
            reward = (run * 5 % RUNS + number) / 16
            episodes.append(replace(info["record"], reward=reward))
    assert {len(episode.calls) for episode in episodes} == {CALLS}
    return episodes


def ours(episodes: list[Episode], padding: str = "truncate") -> Groups:
    rng = np.random.default_rng(0)
    formed = form_groups(episodes, rng, size=RUNS, rules=GroupRules(padding=padding))
    assert all(len(group.advantages) == len(group.members) for group in formed.groups)
    return as_sent(formed.groups)


def theirs(episodes: list[Episode], padding: str = "truncate", adapter: str = "chat") -> Groups:
    steps, _ = form(PROGRAM, episodes, size=RUNS, padding=padding, adapter=ADAPTERS[adapter])
    return steps[0]


def in_order(groups: Groups) -> Groups:
    """Sort groups, which dspy shuffles; their members stay in their order."""
    return sorted(groups, key=repr)


def shortened(episodes: list[Episode], *lengths: int) -> list[Episode]:
    """The same runs, ended after so many calls: run by run, over and over."""
    return [
        replace(episode, calls=episode.calls[: lengths[number % len(lengths)]])
        for number, episode in enumerate(episodes)
    ]


def failed(episode: Episode) -> Episode:
    """The same run, ended by a last call that can't be read."""
    last = replace(episode.calls[-1], fields={}, error="no such line", completion="Well...")
    calls = (*episode.calls[:-1], last)
    return replace(episode, calls=calls, status="parse_failure", reward=-1.0)


def show(episodes: list[Episode], adapter: str = "chat") -> list[Episode]:
    return [rendered(PROGRAM, episode, ADAPTERS[adapter]) for episode in episodes]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("padding", ["truncate", "fill", "ragged"])
def test_groups_are_equal_where_runs_make_the_same_calls(
    played: list[Episode], padding: str, adapter: str
) -> None:
    episodes = show(played, adapter)
    groups = in_order(ours(episodes, padding))
    assert groups == in_order(theirs(episodes, padding, adapter))
    assert [len(group) for group in groups] == [RUNS] * EXAMPLES * CALLS


def test_groups_are_equal_where_runs_are_cut_to_the_shortest(played: list[Episode]) -> None:
    episodes = show(shortened(played, 8, 5, 6, 3, 7))
    groups = in_order(ours(episodes))
    assert groups == in_order(theirs(episodes))
    assert len(groups) == EXAMPLES * 3  # the shortest run has notes, a query, notes


def test_groups_are_equal_where_a_run_has_one_call_to_fill_with(played: list[Episode]) -> None:
    episodes = show(shortened(played, 8, 2))
    groups = in_order(ours(episodes, "fill"))
    assert groups == in_order(theirs(episodes, "fill"))
    assert len(groups) == EXAMPLES * CALLS


def test_groups_are_equal_where_runs_could_not_be_read(played: list[Episode]) -> None:
    cut = shortened(played, 8, 6, 3)
    episodes = show([failed(run) if number % 3 else run for number, run in enumerate(cut)])
    assert in_order(ours(episodes)) == in_order(theirs(episodes))


def test_both_fill_with_calls_of_the_run_itself(played: list[Episode]) -> None:
    episodes = show(shortened(played, 8, 4))
    drawn = [ours(episodes, "fill"), theirs(episodes, "fill")]
    assert [sorted(len(group) for group in groups) for groups in drawn] == [[RUNS] * 32] * 2
    own = {call.completion: run % RUNS for run, e in enumerate(episodes) for call in e.calls}
    for groups in drawn:
        for group in groups:
            assert [own[member["completion"]["content"]] for member in group] == list(range(RUNS))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_group_forming_against_dspy(
    played: list[Episode],
    adapter: str,
    benchmark: BenchmarkFixture,
    rate: Callable[[Callable[[], int]], float],
    say: Callable[[str], None],
) -> None:
    episodes = show(played, adapter)
    assert in_order(ours(episodes)) == in_order(theirs(episodes, adapter=adapter))
    rules = GroupRules(padding="truncate")
    times: list[tuple[float, float]] = []

    def ours_again() -> int:
        for seed in range(OUR_TURNS):
            form_groups(episodes, np.random.default_rng(seed), size=RUNS, rules=rules)
        return OUR_TURNS

    def take_turns() -> None:
        mine = 1 / rate(ours_again)
        wanted = EXAMPLES * CALLS
        other = form(PROGRAM, episodes, size=RUNS, wanted=wanted, adapter=ADAPTERS[adapter])[1]
        times.append((mine, other))

    benchmark.pedantic(take_turns, rounds=ROUNDS, warmup_rounds=2)

    ratio = statistics.median(other / mine for mine, other in times)
    mine, other = (1000 * statistics.median(side) for side in zip(*times, strict=True))
    benchmark.extra_info.update(ratio=round(ratio, 1), ms=round(mine, 3), dspy_ms=round(other, 1))
    say(f"groups and advantages of {EXAMPLES} x {RUNS} runs x {CALLS} calls: {mine:.2f} CPU-ms")
    say(f"groups alone in dspy {dspy.__version__} with its {adapter} adapter: {other:.0f} CPU-ms")
    say(f"ratio: {ratio:.0f} (wanted: {RATIO_WANTED})")
    assert ratio >= RATIO_WANTED
