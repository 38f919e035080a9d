"""Grouping: runs become groups whose rewards are compared with each other.

A module is told apart by its name, a step type by (module, occurrence). Members of a group may
have different prompts: that is the one relaxation that mmGRPO makes of GRPO.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from progym.agents.grpo.padding import Member, Padding
from progym.envs.module import StepType
from progym.envs.records import Episode


@dataclass(frozen=True, slots=True)
class Run:
    """An episode, its position in the batch, and what its calls are credited with."""

    position: int
    episode: Episode
    reward: float
    credits: Sequence[float]
    """One for each call."""
    trained: Sequence[int]
    """The calls that are trained on, by position in the episode."""


@dataclass(frozen=True, slots=True)
class Group:
    """What is compared: the calls of one step type, or whole runs, over one example."""

    example_id: str
    step_type: StepType | None
    """None where the members are whole runs."""
    members: tuple[Member, ...]
    advantages: tuple[float, ...]
    """One for each member."""

    @property
    def rewards(self) -> tuple[float, ...]:
        """The members' rewards, in their order."""
        return tuple(member.reward for member in self.members)


Grouping = Callable[
    [Sequence[Run], Padding, np.random.Generator], Mapping[StepType | None, list[Member]]
]
"""Sorts one example's runs into groups. Pure but for the generator, which serves padding."""


def by_module(
    runs: Sequence[Run], padding: Padding, rng: np.random.Generator
) -> dict[StepType | None, list[Member]]:
    """Group calls by (module, occurrence).

    A run that never calls a module is left out of that module's groups, and of nothing else.
    """
    calls: dict[str, dict[int, list[Member]]] = {}
    trained: dict[int, Sequence[int]] = {}
    for run in runs:
        trained[run.position] = run.trained
        for place, call in enumerate(run.episode.calls):
            member = Member(run.position, (place,), (call,), run.credits[place])
            calls.setdefault(call.module, {}).setdefault(run.position, []).append(member)
    return {
        StepType(module, occurrence): [m for m in slot if m.places[0] in trained[m.run]]
        for module, by_run in calls.items()
        for occurrence, slot in enumerate(padding(list(by_run.values()), rng))
    }


def by_trajectory(
    runs: Sequence[Run],
    padding: Padding,  # noqa: ARG001
    rng: np.random.Generator,  # noqa: ARG001
) -> dict[StepType | None, list[Member]]:
    """Compare whole runs by their rewards: one advantage for all calls of a run (paper, v2).

    There is nothing to pad, and calls are not credited one by one.
    """
    members: list[Member] = []
    for run in runs:
        places = tuple(run.trained)
        calls = tuple(run.episode.calls[place] for place in places)
        if calls:
            members.append(Member(run.position, places, calls, run.reward))
    return {None: members}


GROUPINGS: dict[str, Grouping] = {"module": by_module, "trajectory": by_trajectory}
"""By the name a config gives."""
