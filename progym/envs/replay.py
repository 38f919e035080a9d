"""Replay: an episode runs again from its recorded completions, and what differs is named.

Everything but the models is executed anew: the program, its requests, the parsing, the score. Only
services that are not deterministic (endpoints) answer from the record, so nothing is asked outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

import gymnasium

from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue, unknown
from progym.envs.parsing import parse
from progym.envs.program import Example
from progym.envs.prompts import PromptSet
from progym.envs.records import CallRecord, Completion, Episode
from progym.envs.rendering import Call, Message, render
from progym.envs.run import ProgramRun

_Values = dict[str, object]


@dataclass(frozen=True)
class ReplayReport:
    """Whether an episode replays, and otherwise what differs first."""

    matches: bool
    drift: str | None = None
    step: int | None = None
    """The call at which it drifted, counted from 0; None where it was no call that differs."""


def replay(
    episode: Episode,
    env: gymnasium.Env[str, str] | None = None,
    *,
    prompts: PromptSet | None = None,
) -> ReplayReport:
    """Execute an episode again and compare everything that follows from its completions.

    An episode that ended in a fault is executed up to the fault; what comes after has no record.

    Args:
        episode: The record.
        env: A ProgramEnv, wrapped or not; made from the record's id and arguments where absent.
        prompts: The prompt set the agent had. With it, prompts must match in full; without it
            only their last message, which holds the call's inputs.

    Raises:
        BadValue: The episode names no environment that can be made from its record.
        UnknownName: It names one that isn't registered, or `prompts` a module that it has not.
        BadData: A demo of `prompts` does not fit its module.
    """
    made = _program_env(env) if env is not None else make_recorded(episode)
    if prompts is not None:
        prompts.check(made.program.modules)
    for name in ("fingerprint", "split"):
        drift = _difference(name, getattr(episode, name), getattr(made, name))
        if drift:
            return ReplayReport(False, drift)
    try:
        example = made.examples.by_id(episode.example_id)
    except BadValue as error:
        return ReplayReport(False, str(error))
    return _compare(episode, _start(episode, made, example), prompts)


def make_recorded(episode: Episode) -> ProgramEnv:
    """Make the environment an episode names; raises BadValue where its record does not suffice."""
    # An id such as "module:Id-v0" would import the module, and a record may come from anyone.
    if not episode.env_id or ":" in episode.env_id:
        raise BadValue(
            f"The episode's env_id is {episode.env_id!r}, which names no registered environment. "
            "Pass the environment it was played in."
        )
    if episode.env_id not in gymnasium.registry:
        raise unknown("environment", episode.env_id, gymnasium.registry)
    for name, value in episode.env_kwargs.items():
        if isinstance(value, dict) and list(value) == ["object"]:  # pyright: ignore[reportUnknownArgumentType]
            raise BadValue(
                f"The environment was made with an object for {name!r} ({value['object']}), "
                "which a record can't hold. Pass the environment it was played in."
            )
    try:
        return _program_env(gymnasium.make(episode.env_id, **episode.env_kwargs))
    except TypeError as error:
        raise BadValue(
            f"{episode.env_id} can't be made with the recorded arguments "
            f"{dict(episode.env_kwargs)}: {error}. Replay it with the version of progym that "
            "played it, or pass the environment."
        ) from error


def _program_env(env: gymnasium.Env[Any, Any]) -> ProgramEnv:
    made = env.unwrapped
    if not isinstance(made, ProgramEnv):
        raise BadValue(f"Only program environments replay; {type(made).__name__} is none.")
    return made


def _start(episode: Episode, env: ProgramEnv, example: Example) -> ProgramRun:
    return ProgramRun(
        env.program,
        example,
        env.score,
        env.services,
        limits=env.limits,
        failure_reward=env.failure_reward,
        progress=env.progress,
        answers=episode.asks,
    )


def _compare(episode: Episode, run: ProgramRun, prompts: PromptSet | None) -> ReplayReport:
    for step, recorded in enumerate(episode.calls):
        drift = _ask_drift(episode, run) or _call_drift(recorded, run, prompts)
        if drift:
            return ReplayReport(False, drift, step)
        run.reply(_completion(recorded))
    drift = _ask_drift(episode, run)
    if episode.status == "fault":
        drift = drift or _difference("reward", episode.reward, 0.0)
        drift = drift or _difference("score", episode.score, None)
    elif episode.status == "truncated" and episode.fault:  # its next prompt outgrew the model
        drift = drift or _difference("pending call", True, run.call is not None)
        drift = drift or _difference("reward", episode.reward, 0.0)
        drift = drift or _difference("score", episode.score, 0.0)
    else:
        drift = drift or _end_drift(episode, run)
    return ReplayReport(not drift, drift)


def _call_drift(recorded: CallRecord, run: ProgramRun, prompts: PromptSet | None) -> str | None:
    call = run.call
    if call is None:
        return f"the run ended ({run.status}{_because(run)}), but the record has another call"
    drift = _difference("call", f"{recorded.module}:{recorded.occurrence}", str(call.step_type))
    drift = drift or _difference("progress", recorded.progress, run.progress)
    drift = drift or _difference("inputs", dict(recorded.inputs), dict(call.inputs))
    drift = drift or _prompt_drift(recorded.prompt, call, prompts)
    if drift:
        return drift
    parsed = parse(call.module, recorded.completion)
    drift = _difference("fields", dict(recorded.fields), dict(parsed.fields))
    drift = drift or _difference("missing", recorded.missing, parsed.missing)
    return drift or _difference("error", recorded.error, parsed.error)


def _prompt_drift(
    recorded: tuple[Message, ...], call: Call, prompts: PromptSet | None
) -> str | None:
    rendered = render(call, prompts)
    if prompts is None:
        return _difference("last message of the prompt", recorded[-1:], rendered[-1:])
    if len(recorded) != len(rendered):
        return f"the prompt has {len(recorded)} messages in the record, {len(rendered)} now"
    for number, (message, again) in enumerate(zip(recorded, rendered, strict=True)):
        drift = _difference(f"message {number} of the prompt", message, again)
        if drift:
            return drift
    return None


def _ask_drift(episode: Episode, run: ProgramRun) -> str | None:
    for number, (recorded, again) in enumerate(zip(episode.asks, run.asks, strict=False)):
        drift = _difference(f"request {number} to a service", vars(recorded), vars(again))
        if drift:
            return drift
    return None


def _end_drift(episode: Episode, run: ProgramRun) -> str | None:
    if run.call is not None:
        return f"the record ends, but the run goes on to call {run.call.step_type}"
    if run.status == "fault":
        return f"the run failed{_because(run)}, the record ends with {episode.status!r}"
    for name in ("status", "reward", "score"):
        drift = _difference(name, getattr(episode, name), getattr(run, name))
        if drift:
            return drift
    return _difference("metrics", dict(episode.metrics), dict(run.metrics)) or _difference(
        "number of requests", len(episode.asks), len(run.asks)
    )


def _completion(recorded: CallRecord) -> Completion:
    """Make the completion again with what budgets count; its text is parsed anew."""
    return Completion(
        recorded.completion,
        prompt=recorded.prompt,
        usage=(recorded.prompt_tokens, recorded.completion_tokens),
        finish=recorded.finish,
    )


def _because(run: ProgramRun) -> str:
    return f": {run.fault}" if run.fault else ""


def _difference(name: str, recorded: object, again: object) -> str | None:
    if recorded == again:
        return None
    if _are_values(recorded) and _are_values(again):
        return _mapping_difference(name, recorded, again)
    return _text_difference(name, str(recorded), str(again))


def _are_values(value: object) -> TypeGuard[_Values]:
    return isinstance(value, dict)


def _text_difference(name: str, old: str, new: str) -> str:
    pairs = enumerate(zip(old, new, strict=False))
    start = next((i for i, (a, b) in pairs if a != b), min(len(old), len(new)))
    start = max(0, start - 20)
    old, new = old[start : start + 60], new[start : start + 60]
    return f"{name} differs: {old!r} in the record, {new!r} now"


def _mapping_difference(name: str, recorded: _Values, again: _Values) -> str | None:
    for key in {**recorded, **again}:
        if key not in again or key not in recorded:
            return (
                f"{name} differs: {key!r} is {'only' if key in recorded else 'not'} in the record"
            )
        drift = _difference(f"{name}, {key!r},", recorded[key], again[key])
        if drift:
            return drift
    return None
