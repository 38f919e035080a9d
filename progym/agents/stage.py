"""Stages: what a strategy is made of. Each maps a policy to a policy under a budget.

`po -> mmgrpo` is two stages in order. A stage writes its state under its own folder, so that a run
that was killed goes on from there, and reports what it spent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Protocol

import gymnasium
from gymnasium.envs.registration import load_env_creator

import progym.envs.catalog  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers the ids
from progym.agents.policy import Policy
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue, unknown
from progym.envs.records import Episode


@dataclass(frozen=True)
class Task:
    """An environment by id and arguments, made for one split at a time.

    One that is no program of ours needs no splits: its episodes differ by the seed of `reset`.
    """

    env_id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def make(self, split: str) -> gymnasium.Env[str, str]:
        """Make the environment for a split.

        Raises:
            UnknownName: An argument that the environment does not take.
            BadValue: The module in front of the id can't be imported, or a program has no splits.
        """
        module, _, name = self.env_id.rpartition(":")
        if module:  # "package.module:Id-v0" imports the module that registers the id
            try:
                import_module(module)
            except ImportError as error:
                raise BadValue(f"{self.env_id}: {module} can't be imported ({error}).") from error
        kwargs: dict[str, Any] = {**self.kwargs, "split": split}
        entry_point = gymnasium.spec(name).entry_point
        if entry_point is not None:
            by_name = isinstance(entry_point, str)
            creator = load_env_creator(entry_point) if by_name else entry_point
            taken = signature(creator).parameters
            if not any(p.kind is Parameter.VAR_KEYWORD for p in taken.values()):
                for key in self.kwargs.keys() - taken.keys():
                    raise unknown(f"argument of {self.env_id}", key, taken)
                if "split" not in taken:
                    del kwargs["split"]
        env = gymnasium.make(self.env_id, **kwargs)
        if "split" not in kwargs and isinstance(env.unwrapped, ProgramEnv):
            env.close()
            raise BadValue(f"{self.env_id} takes no `split`: a task has train, val, test.")
        return env


@dataclass(frozen=True)
class Cost:
    """What was spent; costs add up."""

    rollouts: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)))


def cost_of(episodes: list[Episode], seconds: float = 0.0) -> Cost:
    """Add up what episodes spent; `seconds` is the wall time of the batch, not of each."""
    calls = [call for episode in episodes for call in episode.calls]
    return Cost(
        rollouts=len(episodes),
        calls=len(calls),
        prompt_tokens=sum(call.prompt_tokens for call in calls),
        completion_tokens=sum(call.completion_tokens for call in calls),
        seconds=seconds,
    )


@dataclass(frozen=True)
class CurvePoint:
    """A point of a learning curve: what was spent within the stage, and the score it had bought."""

    step: int
    rollouts: int
    score: float
    split: str
    """"train" for the mean score of the rollouts just drawn, "val" for an evaluation."""


@dataclass(frozen=True)
class StageResult:
    """The policy a stage ends with, what it cost, and its learning curve."""

    policy: Policy
    cost: Cost
    curve: tuple[CurvePoint, ...] = ()


Report = Callable[[str, int, int], None]
"""Told of progress: what is being done, how many steps are done, of how many."""


class Stage(Protocol):
    """One optimizer with its configuration.

    `seed` decides everything random. `folder` is the stage's own: called again with the same
    arguments after a kill, a stage goes on from what is in there and ends with the same policy.
    """

    name: str

    def run(
        self, policy: Policy, task: Task, *, seed: int, folder: Path, report: Report
    ) -> StageResult:
        """Optimize a policy on a task's train split, choosing by its val split."""
        ...
