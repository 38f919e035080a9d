"""Grouping: episodes become groups of calls whose rewards are compared with each other.

A module is told apart by its name, a step type by (module, occurrence). Members of a group may
have different prompts: that is the one relaxation that mmGRPO makes of GRPO.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from progym.agents.grpo.padding import Member, Padding, Slots, fill
from progym.agents.grpo.selection import Selection, select_k_diverse
from progym.envs.module import StepType
from progym.envs.records import Episode


@dataclass(frozen=True, slots=True)
class Group:
    """The calls of one step type over the runs of one example."""

    example_id: str
    step_type: StepType
    members: tuple[Member, ...]

    @property
    def rewards(self) -> tuple[float, ...]:
        """The members' rewards, in their order."""
        return tuple(member.reward for member in self.members)


@dataclass(frozen=True, slots=True)
class Groups:
    """What a batch of episodes gave, and what was left out of it."""

    groups: tuple[Group, ...]
    faults: int = 0
    """Episodes that a fault of the system ended: their reward means nothing."""
    singles: int = 0
    """Groups of one, which have nothing to be compared with."""


Runs = Sequence[tuple[int, Episode]]
"""The runs of one example, each with its position in the batch."""

Grouping = Callable[[Runs, Padding, np.random.Generator], Mapping[StepType, list[Member]]]
"""Sorts the calls of one example's runs into groups by step type. Pure but for the generator."""


def by_module(
    runs: Runs, padding: Padding, rng: np.random.Generator
) -> dict[StepType, list[Member]]:
    """Group by (module, occurrence); each call is credited with its run's final reward.

    A run that never calls a module is left out of that module's groups, and of nothing else.
    """
    calls: dict[str, dict[int, list[Member]]] = {}
    for position, episode in runs:
        for call in episode.calls:
            by_run = calls.setdefault(call.module, {})
            by_run.setdefault(position, []).append(Member(position, call, episode.reward))
    slots: dict[str, Slots] = {
        module: padding(list(by_run.values()), rng) for module, by_run in calls.items()
    }
    return {
        StepType(module, occurrence): members
        for module, occurrences in slots.items()
        for occurrence, members in enumerate(occurrences)
    }


GROUPINGS: dict[str, Grouping] = {"module": by_module}
"""By the name a config gives."""


def form_groups(
    episodes: Sequence[Episode],
    rng: np.random.Generator,
    *,
    size: int,
    grouping: Grouping = by_module,
    padding: Padding = fill,
    selection: Selection = select_k_diverse,
) -> Groups:
    """Form the groups of a batch, of at most `size` members each; the generator serves padding."""
    runs: dict[str, list[tuple[int, Episode]]] = {}
    for position, episode in enumerate(episodes):
        if episode.status != "fault":
            runs.setdefault(episode.example_id, []).append((position, episode))
    groups: list[Group] = []
    singles = 0
    for example_id, of_example in runs.items():
        for step_type, members in grouping(of_example, padding, rng).items():
            kept = selection(members, size)
            singles += len(kept) == 1
            if len(kept) > 1:
                groups.append(Group(example_id, step_type, tuple(kept)))
    faults = sum(episode.status == "fault" for episode in episodes)
    return Groups(tuple(groups), faults, singles)
