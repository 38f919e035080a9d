"""From a batch of episodes to its groups, by the rules of a config."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from progym.agents.grpo.advantages import group_advantages
from progym.agents.grpo.credit import CREDITS, FAILED_RUNS, UNREADABLE
from progym.agents.grpo.grouping import GROUPINGS, Group, Run
from progym.agents.grpo.padding import PADDINGS, Member
from progym.agents.grpo.rules import GroupRules, pick
from progym.agents.grpo.selection import SELECTIONS
from progym.envs.module import StepType
from progym.envs.records import Episode

_RULES = GroupRules()


@dataclass(frozen=True, slots=True)
class Groups:
    """What a batch of episodes gave, and what was left out of it."""

    groups: tuple[Group, ...]
    faults: int = 0
    """Episodes that a fault of the system ended: their reward means nothing."""
    singles: int = 0
    """Groups of one, which have nothing to be compared with."""


def form_groups(
    episodes: Sequence[Episode],
    rng: np.random.Generator,
    *,
    size: int,
    rules: GroupRules = _RULES,
    frozen: Collection[str] = (),
) -> Groups:
    """Form the groups of a batch, of at most `size` members each; the generator serves padding.

    Calls of `frozen` modules stand in none.

    Raises BadValue where the rules ask for what the episodes do not hold.
    """
    grouping = pick("grouping", rules.grouping, GROUPINGS)
    padding = pick("padding", rules.padding, PADDINGS)
    selection = pick("selection", rules.selection, SELECTIONS)
    runs: dict[str, list[Run]] = {}
    for position, episode in enumerate(episodes):
        if episode.status != "fault":
            run = _credit(position, episode, rules, frozen)
            runs.setdefault(episode.example_id, []).append(run)
    found: list[tuple[str, StepType | None, list[Member]]] = []
    singles = 0
    for example_id, of_example in runs.items():
        for step_type, members in grouping(of_example, padding, rng).items():
            kept = selection(members, size)
            singles += len(kept) == 1
            if len(kept) > 1:
                found.append((example_id, step_type, kept))
    rewards = [[member.reward for member in kept] for _, _, kept in found]
    advantages = group_advantages(rewards, rules.scale_rewards)
    groups = tuple(
        Group(example_id, step_type, tuple(kept), tuple(scored.tolist()))
        for (example_id, step_type, kept), scored in zip(found, advantages, strict=True)
    )
    faults = sum(episode.status == "fault" for episode in episodes)
    return Groups(groups, faults, singles)


def _credit(position: int, episode: Episode, rules: GroupRules, frozen: Collection[str]) -> Run:
    reward, trained = episode.reward, cast("Sequence[int]", range(len(episode.calls)))
    if episode.status == "parse_failure":
        reward = pick("unreadable", rules.unreadable, UNREADABLE)(episode)
        trained = pick("failed_runs", rules.failed_runs, FAILED_RUNS)(episode)
    if frozen:
        trained = [place for place in trained if episode.calls[place].module not in frozen]
    credited = pick("credit", rules.credit, CREDITS)(episode, reward)
    return Run(position, episode, reward, credited, trained)
