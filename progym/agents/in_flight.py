"""One episode in flight: its environment, its pending call, and what its record needs.

Any text environment that gives `info["step_type"]` will do. One that is not a program of ours shows
the model its observation as a user message and is recorded here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium

from progym.agents.model import GenerationRequest
from progym.agents.seeding import derive_seed
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue
from progym.envs.prompts import PromptSet
from progym.envs.records import CallRecord, Completion, Episode, Status
from progym.envs.rendering import Message, render

TextEnv = gymnasium.Env[str, str]


@dataclass(frozen=True)
class RolloutRequest:
    """One episode wanted: the example it runs on, and the seed of all that is random in it."""

    example_id: str
    seed: int


class EpisodeInFlight:
    """An episode that has begun; every advance gives its record once it has ended, else None."""

    def __init__(self, env: TextEnv, request: RolloutRequest) -> None:
        self.env = env
        self._request = request
        program = env.unwrapped
        self._program = program if isinstance(program, ProgramEnv) else None
        self._observation = ""
        self._info: Mapping[str, Any] = {}
        self._calls = 0
        self._recorder = _Recorder(env, request)

    @property
    def waits(self) -> bool:
        """Whether a step may wait for a service on the network."""
        services = self._program.services.values() if self._program else ()
        return not all(service.deterministic for service in services)

    def begin(self) -> Episode | None:
        """Reset the environment; a program may end, or fail, before its first call.

        All episodes of one example begin alike: where the environment is no program of ours, the
        example's id gives the seed.
        """
        example_id, seed = self._request.example_id, self._request.seed
        if self._program is None:
            seed = derive_seed("example", example_id) % 2**31
        try:
            self._observation, self._info = self.env.reset(
                seed=seed, options={"example_id": example_id}
            )
        except Exception as error:
            if self._program is not None:  # ours keep records of what fails in them
                raise
            return self.fail(f"{type(error).__name__}: {error}")
        return self._info.get("record")

    def request(self, prompts: PromptSet) -> GenerationRequest:
        """Ask for the pending call, with a seed of its own."""
        seed = derive_seed(self._request.seed, self._request.example_id, self._calls)
        if self._program is None:
            message = Message(role="user", content=self._observation)
            return GenerationRequest((message,), seed, _step_type(self._info)[0])
        call, gold = self._info["call"], self._program.gold_fields
        return GenerationRequest(render(call, prompts), seed, call.module.name, call, gold)

    def answer(self, completion: Completion) -> Episode | None:
        """Step with a completion."""
        self._calls += 1
        if self._program is None:
            self._recorder.note(self._observation, self._info, completion)
        try:
            observation, reward, terminated, truncated, info = self.env.step(completion)
        except Exception as error:
            if self._program is not None:  # ours keep records of what fails in them
                raise
            return self.fail(f"{type(error).__name__}: {error}")
        self._observation, self._info = observation, info
        if not (terminated or truncated):
            self._recorder.reward += float(reward)
            return None
        if "record" in info:
            return info["record"]
        if self._program is not None:
            return self.fail("A wrapper ended the episode before its program did.")
        self._recorder.reward += float(reward)
        return self._recorder.episode("truncated" if truncated else "ok")

    def is_plain_start(self, prompts: PromptSet) -> bool:
        """Whether the pending prompt is all the caller's doing: nothing was said or tuned yet."""
        return self._calls == 0 and not prompts.modules

    def cut(self, reason: str) -> Episode:
        """End the episode where its prompt outgrew the model; a program's earns nothing."""
        if self._program is None:
            return self._recorder.episode("truncated")
        record = self._program.abandon(reason)
        return replace(record, status="truncated", score=0.0)

    def fail(self, fault: str) -> Episode:
        """End the episode for a fault of the system that happened outside its environment."""
        if self._program is not None:
            return self._program.abandon(fault)
        return self._recorder.episode("fault", fault)


class _Recorder:
    """Keeps the record of an environment that keeps none."""

    def __init__(self, env: TextEnv, request: RolloutRequest) -> None:
        self._env, self._request = env, request
        self._calls: list[CallRecord] = []
        self._started = time.perf_counter()
        self.reward = 0.0

    def note(self, observation: str, info: Mapping[str, Any], completion: Completion) -> None:
        module, occurrence = _step_type(info)
        prompt_tokens, completion_tokens = completion.usage
        self._calls.append(
            CallRecord(
                module=module,
                occurrence=occurrence,
                prompt=completion.prompt or (Message(role="user", content=observation),),
                completion=str.__str__(completion),
                fields={},
                finish=completion.finish,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                prompt_ids=completion.prompt_ids,
                token_ids=completion.token_ids,
                logprobs=completion.logprobs,
            )
        )

    def episode(self, status: Status, fault: str | None = None) -> Episode:
        spec = self._env.spec
        return Episode(
            env_id=spec.id if spec else type(self._env.unwrapped).__name__,
            env_kwargs=dict(spec.kwargs) if spec else {},
            fingerprint="",
            split="",
            example_id=self._request.example_id,
            seed=self._request.seed,
            calls=tuple(self._calls),
            asks=(),
            status=status,
            reward=0.0 if fault else self.reward,
            score=None if fault else self.reward,
            fault=fault,
            seconds=time.perf_counter() - self._started,
        )


def _step_type(info: Mapping[str, Any]) -> tuple[str, int]:
    if "step_type" not in info:
        raise BadValue(
            'The environment gives no info["step_type"]. Give (module name, occurrence) there: '
            "learners group calls by it."
        )
    module, occurrence = info["step_type"]
    return module, occurrence
