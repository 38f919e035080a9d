"""How calls become groups: which rules there are, each by name or as a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from progym.agents.grpo.advantages import SCALES, ScaleRewards
from progym.agents.grpo.credit import (
    CREDITS,
    FAILED_RUNS,
    UNREADABLE,
    Credit,
    FailedRuns,
    Unreadable,
)
from progym.agents.grpo.grouping import GROUPINGS, Grouping
from progym.agents.grpo.padding import PADDINGS, Padding
from progym.agents.grpo.selection import SELECTIONS, Selection
from progym.envs.errors import BadValue, unknown

T = TypeVar("T")


@dataclass(frozen=True)
class GroupRules:
    """How calls become groups; each rule by name or as a function of the same signature."""

    grouping: str | Grouping = "module"
    """What is compared: calls of one (module, occurrence), "module", or runs, "trajectory"."""
    credit: str | Credit = "final"
    """What a call is rewarded with: the run's "final" reward, or what came after it, "to_go"."""
    unreadable: str | Unreadable = "hard"
    """The reward where a completion could not be read: "hard", or "soft" by its missing fields."""
    failed_runs: str | FailedRuns = "whole"
    """What is trained on where a completion could not be read: "whole" or "failing_call"."""
    padding: str | Padding = "fill"
    """For runs that call a module a different number of times: "fill", "truncate", "ragged"."""
    selection: str | Selection = "k_diverse"
    """Who stays where a group has more than num_generations members."""
    rollouts: int | None = None
    """Runs of each example in a step; num_generations if not given."""
    scale_rewards: ScaleRewards = "group"
    """What advantages are divided by: the spread of the "group", of the "batch", or "none"."""

    def __post_init__(self) -> None:
        pick("grouping", self.grouping, GROUPINGS)
        pick("padding", self.padding, PADDINGS)
        pick("selection", self.selection, SELECTIONS)
        pick("credit", self.credit, CREDITS)
        pick("unreadable", self.unreadable, UNREADABLE)
        pick("failed_runs", self.failed_runs, FAILED_RUNS)
        if self.grouping == "trajectory" and self.credit != "final":
            raise BadValue(
                f"grouping 'trajectory' has one advantage for a whole run, so credit must be "
                f"'final', got {self.credit!r}. Take grouping 'module'."
            )
        if self.scale_rewards not in SCALES:
            raise unknown("scale_rewards", self.scale_rewards, SCALES)


def pick(kind: str, given: str | T, table: Mapping[str, T]) -> T:
    """Find a strategy by name, or take the function given; raises with the nearest match."""
    if not isinstance(given, str):
        return given
    if given not in table:
        raise unknown(kind, given, table)
    return table[given]
