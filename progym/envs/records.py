"""Records of what happened: completions, calls, episodes. Plain data, JSON on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from progym.envs.errors import BadData
from progym.envs.module import Value
from progym.envs.record_types import check_ask, check_call, check_episode
from progym.envs.rendering import Message

SCHEMA_VERSION = 1

Status = Literal["ok", "parse_failure", "truncated", "fault"]
"""How an episode ended: scored, unreadable completion, budget spent, or a fault of the system."""


Finish = Literal["stop", "length"]
"""Why a completion ended: by itself, or because the token limit cut it."""


class Completion(str):
    """The text of a completion that also knows its tokens; text environments take it as a `str`.

    Args:
        text: What the model wrote, as decoded from `token_ids`.
        token_ids: The sampled ids, the end-of-turn token included where it was sampled.
        logprobs: Log-probability of each sampled id under the distribution it was drawn from; where
            the likeliest was taken, at temperature 1.
        prompt: The messages the model saw; the environment's own rendering where absent.
        prompt_ids: The prompt's ids as the model was fed them.
        usage: (prompt tokens, completion tokens) where ids are not known (an endpoint).
        finish: "stop", or "length" where the token limit cut the completion.
        fields: Output fields, already read; the environment then does not parse the text.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    prompt: tuple[Message, ...] | None
    prompt_ids: tuple[int, ...]
    usage: tuple[int, int]
    finish: Finish
    fields: Mapping[str, str] | None

    def __new__(  # noqa: D102 - documented on the class
        cls,
        text: str,
        *,
        token_ids: tuple[int, ...] = (),
        logprobs: tuple[float, ...] = (),
        prompt: tuple[Message, ...] | None = None,
        prompt_ids: tuple[int, ...] = (),
        usage: tuple[int, int] | None = None,
        finish: Finish = "stop",
        fields: Mapping[str, str] | None = None,
    ) -> Self:
        self = super().__new__(cls, text)
        self.token_ids = token_ids
        self.logprobs = logprobs
        self.prompt = prompt
        self.prompt_ids = prompt_ids
        self.usage = usage or (len(prompt_ids), len(token_ids))
        self.finish = finish
        self.fields = fields
        return self

    def changed(self, **values: Any) -> Completion:
        """Give a completion of the same text with some of its arguments changed."""
        return _revive(str.__str__(self), {**self.__dict__, **values})

    def __reduce__(self) -> tuple[Any, ...]:
        return (_revive, (str(self), dict(self.__dict__)))


def _revive(text: str, state: dict[str, Any]) -> Completion:
    return Completion(text, **state)


@dataclass(frozen=True)
class CallRecord:
    """One call of an episode with its true prompt and its sampled tokens."""

    module: str
    occurrence: int
    prompt: tuple[Message, ...]
    completion: str
    fields: Mapping[str, str]
    error: str | None = None
    finish: Finish = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    inputs: Mapping[str, Value] = field(default_factory=dict[str, Value])
    """What the program gave the module; with the outputs of a good call it makes a demo."""
    missing: tuple[str, ...] = ()
    """Names of the output fields that could not be read."""
    progress: float | None = None
    """How far the episode had come when the call was made, in [0, 1], where its task measures that.
    """


@dataclass(frozen=True)
class AskRecord:
    """One request to a service and its answer."""

    service: str
    request: Mapping[str, Any]
    answer: Any


@dataclass(frozen=True)
class Episode:
    """One run of a program: every call, every request, what it earned and how it ended.

    `reward` is what a learner sees (a failure reward included); `score` in [0, 1] is what tables
    report: 0 for an unreadable or truncated run, None for a fault of the system, which is no score.
    `fault` says what failed, or of a truncated run that its prompt outgrew the model.
    """

    env_id: str
    env_kwargs: Mapping[str, Any]
    fingerprint: str
    split: str
    example_id: str
    seed: int | None
    calls: tuple[CallRecord, ...]
    asks: tuple[AskRecord, ...]
    status: Status
    reward: float
    score: float | None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    fault: str | None = None
    seconds: float = field(default=0.0, compare=False)
    schema: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Give the episode as plain JSON values."""
        return {
            **vars(self),
            "env_kwargs": dict(self.env_kwargs),
            "metrics": dict(self.metrics),
            "calls": [_call_to_json(call) for call in self.calls],
            "asks": [{**vars(ask), "request": dict(ask.request)} for ask in self.asks],
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> Episode:
        """Read an episode back; raises BadData for another schema or missing and unknown keys."""
        if values.get("schema") != SCHEMA_VERSION:
            raise BadData(
                f"Episode of schema {values.get('schema')!r}; this version reads {SCHEMA_VERSION}."
            )
        try:
            calls = tuple(_read_call(call) for call in values["calls"])
            asks = tuple(AskRecord(**check_ask(entry)) for entry in values["asks"])
            fields: dict[str, Any] = {**check_episode(values), "calls": calls, "asks": asks}
            return Episode(**fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise BadData(f"Not an episode: {error}.") from error

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the wall time: equal digests, equal episodes."""
        values = self.to_json()
        del values["seconds"]
        text = json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _call_to_json(call: CallRecord) -> dict[str, Any]:
    # By hand: `dataclasses.asdict` copies every token id on its own, which took most of recording.
    return {**vars(call), "fields": dict(call.fields), "inputs": dict(call.inputs)}


def _read_call(values: dict[str, Any]) -> CallRecord:
    checked = check_call(values)
    checked["prompt"] = tuple(
        Message(role=message["role"], content=message["content"]) for message in checked["prompt"]
    )
    return CallRecord(**checked)
