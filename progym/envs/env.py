"""`ProgramEnv`: a program as a Gymnasium environment whose steps are module calls."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import PurePath
from typing import Any

import gymnasium
from gymnasium.error import ResetNeeded

from progym.envs.errors import BadValue, unknown
from progym.envs.examples import Examples
from progym.envs.program import (
    Example,
    GoldPolicy,
    Program,
    ProgressFunction,
    ScoreFunction,
    Service,
)
from progym.envs.records import AskRecord, Episode
from progym.envs.rendering import Call
from progym.envs.run import Limits, ProgramRun
from progym.envs.text_space import TextSpace

_RESET_OPTIONS = ("example_id", "answers")


class ProgramEnv(gymnasium.Env[str, str]):
    """An episode runs a program on one example; each step answers one module call with text.

    The observation is the pending call as text, empty at the end. `info` holds `step_type`, `call`,
    `example_id` and, where the task measures it, `progress`; at the end `record` (an Episode),
    `usage` by module, and `fault` if the system failed, in which case the reward means nothing;
    what RecordEpisodeStatistics adds is its own.
    Rewards are 0 until the end, then the score, or `failure_reward` for an unreadable completion.

    Args:
        program: What runs.
        examples: One split of a task.
        score: Scores the program's outcome.
        services: Answer the program's requests, by name.
        gold: Writes right replies, where the task knows them.
        progress: Says how far an episode has come, where the task can tell before the end.
        split: The split's name, for the record.
        fingerprint: Names the data, corpus included; scores of other fingerprints don't compare.
        limits: What an episode may spend.
        failure_reward: Reward of an episode that ends with an unreadable completion.
        render_mode: None or "ansi" (the pending call as text).
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - as Gymnasium declares it

    def __init__(
        self,
        program: Program,
        examples: Sequence[Example],
        score: ScoreFunction,
        *,
        services: Mapping[str, Service] | None = None,
        gold: GoldPolicy | None = None,
        progress: ProgressFunction | None = None,
        split: str = "",
        fingerprint: str = "",
        limits: Limits = Limits(),
        failure_reward: float = -1.0,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "ansi"):
            raise unknown("render_mode", render_mode, self.metadata["render_modes"])
        number = isinstance(failure_reward, (int, float))  # pyright: ignore[reportUnnecessaryIsInstance] - from a command line
        if not number or not math.isfinite(failure_reward):
            raise BadValue(f"failure_reward must be a finite number, got {failure_reward!r}.")
        self.program, self.score, self.gold, self.progress = program, score, gold, progress
        self.examples = examples if isinstance(examples, Examples) else Examples.of(examples)
        self.services: Mapping[str, Service] = services or {}
        self.split, self.fingerprint = split, fingerprint
        self.limits, self.failure_reward = limits, failure_reward
        self.render_mode = render_mode
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self._run: ProgramRun | None = None
        self._told_end = False
        self._seed: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode and give its first call.

        A program that ends before it, by a fault or with no calls to make, gives its `record` here;
        the next step, whatever its action, gives it again as the end of the episode.

        Options: `example_id` picks the example (else it is drawn from the seed); `answers` is a
        recorded episode's `asks`, to replay it without its endpoints.
        """
        self._run, self._told_end = None, False
        super().reset(seed=seed)
        self._seed = seed
        options = options or {}
        for name in options.keys() - set(_RESET_OPTIONS):
            raise unknown("reset option", name, _RESET_OPTIONS)
        if "example_id" in options:
            example = self.examples.by_id(options["example_id"])
        else:
            example = self.examples[int(self.np_random.integers(len(self.examples)))]
        self._run = ProgramRun(
            self.program,
            example,
            self.score,
            self.services,
            limits=self.limits,
            failure_reward=self.failure_reward,
            progress=self.progress,
            answers=_check_answers(options.get("answers")),
        )
        return self._observe(self._run)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Answer the pending call; a `Completion` brings its tokens along into the record."""
        run = self._run
        if run is None or self._told_end:
            raise ResetNeeded("The episode has ended (or none was begun): call reset() first.")
        if run.call is not None:
            run.reply(action)
        self._told_end = run.call is None
        observation, info = self._observe(run)
        if not self._told_end:
            return observation, 0.0, False, False, info
        truncated = run.status in ("truncated", "fault")
        return observation, run.reward, not truncated, truncated, info

    def abandon(self, fault: str) -> Episode:
        """End the pending episode for a fault of the system outside it, and give its record."""
        run = self._run
        if run is None or run.call is None:
            raise ResetNeeded("The episode has ended (or none was begun): call reset() first.")
        run.abandon(fault)
        self._told_end = True
        return self._episode(run, time.perf_counter() - run.started)

    def render(self) -> str | None:  # type: ignore[override]
        """Show the pending call as text in "ansi" mode."""
        if self.render_mode is None or self._run is None:
            return None
        return self._run.call.text if self._run.call else ""

    @property
    def pending_call(self) -> Call:
        """The call that the next step answers; raises ResetNeeded where there is none."""
        if self._run is None or self._run.call is None:
            raise ResetNeeded("The episode has ended (or none was begun): call reset() first.")
        return self._run.call

    def gold_fields(self) -> Mapping[str, str]:
        """Write the pending call's right output fields; raises BadValue where no gold is known."""
        if self.gold is None or self._run is None or self._run.call is None:
            raise BadValue("There is no pending call, or this task has no gold policy.")
        return self.gold(self._run.example, self._run.call)

    def __getstate__(self) -> dict[str, Any]:
        """Leave a begun episode behind: a running program can't be pickled; reset the copy."""
        return {**self.__dict__, "_run": None}

    def _observe(self, run: ProgramRun) -> tuple[str, dict[str, Any]]:
        info: dict[str, Any] = {"example_id": run.example.id}
        if run.call is not None:
            info["step_type"] = run.call.step_type
            info["call"] = run.call
            if run.progress is not None:
                info["progress"] = run.progress
            return run.call.text, info
        seconds = time.perf_counter() - run.started
        info["record"] = self._episode(run, seconds)
        info["usage"] = run.usage
        if run.fault is not None:
            info["fault"] = run.fault
        return "", info

    @cached_property
    def _env_kwargs(self) -> dict[str, Any]:
        return _json_kwargs(self.spec.kwargs) if self.spec else {}

    def _episode(self, run: ProgramRun, seconds: float) -> Episode:
        return Episode(
            env_id=self.spec.id if self.spec else "",
            env_kwargs=self._env_kwargs,
            fingerprint=self.fingerprint,
            split=self.split,
            example_id=run.example.id,
            seed=self._seed,
            calls=tuple(run.calls),
            asks=tuple(run.asks),
            status=run.status,
            reward=run.reward,
            score=run.score,
            metrics=run.metrics,
            fault=run.fault,
            seconds=seconds,
        )


def _check_answers(answers: object) -> Sequence[AskRecord] | None:
    if answers is None:
        return None
    if not isinstance(answers, (list, tuple)):
        raise BadValue("reset option 'answers' takes the `asks` of a recorded episode.")
    return answers  # pyright: ignore[reportUnknownVariableType]


def _json_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what makes the same environment again; of an object only its class's name."""
    return {
        name: json.loads(json.dumps(value, default=_name_of, allow_nan=False))
        for name, value in kwargs.items()
    }


def _name_of(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    return {"object": f"{type(value).__module__}.{type(value).__qualname__}"}
