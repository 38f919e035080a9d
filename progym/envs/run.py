"""One run of a program: advances the generator, asks services, keeps the record.

`ProgramEnv` is this with Gymnasium's manners. A fault of the system ends the run with
`status="fault"` and no score; nothing a model writes can raise here. Only settings with which every
episode would end so, a wrong key or a missing package, are raised as well.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from progym.envs.errors import (
    BadValue,
    Misconfigured,
    MissingExtra,
    ProgramFault,
    ProgymError,
    ServiceFault,
    unknown,
)
from progym.envs.module import Ask, Invocation
from progym.envs.parsing import Parsed, parse
from progym.envs.program import (
    Example,
    Program,
    ProgressFunction,
    Score,
    ScoreFunction,
    Service,
)
from progym.envs.records import AskRecord, CallRecord, Completion, Status
from progym.envs.rendering import Call
from progym.envs.strict_json import to_json_value

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one episode may spend before it is truncated, and how patient it is with services."""

    max_calls: int | None = None
    """Module calls."""
    max_tokens: int | None = None
    """Completion tokens over all calls, as the agent reports them."""
    service_retries: int = 2
    """Further tries after a ServiceFault."""
    retry_seconds: float = 0.5
    """Wait before the first further try; doubles each time."""

    def __post_init__(self) -> None:
        for name in ("max_calls", "max_tokens", "service_retries"):
            value = getattr(self, name)
            if value is None and name != "service_retries":
                continue
            if type(value) is not int or value < 0:
                raise BadValue(f"{name} must be a whole number, 0 or more, got {value!r}.")
        if not 0.0 <= self.retry_seconds < math.inf:
            raise BadValue(
                f"retry_seconds must be 0 or more and finite, got {self.retry_seconds!r}."
            )


class ProgramRun:
    """The state of one episode; `call` is the pending call, None once it has ended.

    `progress` is how far it had come when that call was made, None where its task does not say.
    """

    def __init__(
        self,
        program: Program,
        example: Example,
        score: ScoreFunction,
        services: Mapping[str, Service],
        *,
        limits: Limits,
        failure_reward: float,
        progress: ProgressFunction | None = None,
        answers: Sequence[AskRecord] | None = None,
    ) -> None:
        self.example = example
        self.progress: float | None = None
        self.call: Call | None = None
        self.calls: list[CallRecord] = []
        self.asks: list[AskRecord] = []
        self.status: Status = "ok"
        self.reward = 0.0
        self.score: float | None = None
        self.metrics: Mapping[str, float] = {}
        self.fault: str | None = None
        self.usage: dict[str, dict[str, int]] = {}
        self.started = time.perf_counter()
        self._score, self._services = score, services
        self._limits, self._failure_reward = limits, failure_reward
        self._answers, self._measure = answers, progress
        self._measured = -1
        self._occurrences: dict[str, int] = {}
        self._completion_tokens = 0
        self._program = program
        self._steps: Generator[Any, Any, Any] | None = None
        self._advance(None)

    def reply(self, text: str) -> None:
        """Answer the pending call."""
        call = self.call
        assert call is not None, "the run has ended"
        completion = text if isinstance(text, Completion) else Completion(text)
        given = completion.fields
        parsed = parse(call.module, text) if given is None else Parsed(given)
        self._record(call, completion, parsed)
        self.call = None
        if parsed.error is not None:
            self._end("parse_failure", reward=self._failure_reward, score=0.0)
        else:
            self._advance(parsed.fields)

    def abandon(self, fault: str) -> None:
        """End the run for a fault outside it, such as a model that can't be reached."""
        self._end("fault", reward=0.0, score=None, fault=fault)

    def _record(self, call: Call, completion: Completion, parsed: Parsed) -> None:
        prompt_tokens, completion_tokens = completion.usage
        module = call.module.name
        self._completion_tokens += completion_tokens
        usage = self.usage.get(module)
        if usage is None:
            usage = self.usage[module] = {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
        usage["calls"] += 1
        usage["prompt_tokens"] += prompt_tokens
        usage["completion_tokens"] += completion_tokens
        self.calls.append(
            CallRecord(
                module=module,
                occurrence=call.occurrence,
                prompt=completion.prompt or call.messages,
                completion=str.__str__(completion),
                fields=parsed.fields,
                error=parsed.error,
                finish=completion.finish,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                prompt_ids=completion.prompt_ids,
                token_ids=completion.token_ids,
                logprobs=completion.logprobs,
                inputs=call.inputs,
                missing=parsed.missing,
                progress=self.progress,
            )
        )

    def _advance(self, reply: Mapping[str, str] | None) -> None:
        try:
            if self._steps is None:
                self._steps = self._program.run(**self.example.inputs)
            invocation = self._drive(self._steps, reply)
            if isinstance(invocation, Invocation):
                self._pend(invocation)
                return
            score = self._score(self.example, invocation)
            if isinstance(score, Generator):
                score = self._drive(score, None)
            value, metrics = _check_score(score)
            self._end("ok", reward=value, score=value, metrics=metrics)
        except Exception as error:  # the boundary between a program's faults and the agent
            unforeseen = not isinstance(error, ProgymError)
            logger.warning("Episode of %s failed: %r", self.example.id, error, exc_info=unforeseen)
            self._end("fault", reward=0.0, score=None, fault=f"{type(error).__name__}: {error}")
            if isinstance(error, (Misconfigured, MissingExtra)):
                raise  # every other episode would fail alike

    def _drive(self, steps: Generator[Any, Any, Any], reply: Any) -> Any:
        """Run a generator to its next invocation or its result, answering requests on the way."""
        while True:
            try:
                item = steps.send(reply)
            except StopIteration as stop:
                return stop.value
            if type(item) is Invocation:
                return item
            if type(item) is not Ask:
                raise ProgramFault(
                    f"A program yields module calls and ask(...) requests, not {item!r}."
                )
            reply = self._answer(item)

    def _pend(self, invocation: Invocation) -> None:
        limits, name = self._limits, invocation.module.name
        if limits.max_calls is not None and len(self.calls) >= limits.max_calls:
            return self._end("truncated", reward=0.0, score=0.0)
        if limits.max_tokens is not None and self._completion_tokens >= limits.max_tokens:
            return self._end("truncated", reward=0.0, score=0.0)
        if name not in self._program.names:
            raise unknown("module", name, self._program.names)
        occurrence = self._occurrences.get(name, 0)
        self._occurrences[name] = occurrence + 1
        if self._measure is not None and self._measured != len(self.asks):
            self.progress = _check_progress(self._measure(self.example, self.asks))
            self._measured = len(self.asks)
        self.call = Call(invocation.module, occurrence, invocation.inputs)
        return None

    def _end(
        self,
        status: Status,
        *,
        reward: float,
        score: float | None,
        metrics: Mapping[str, float] | None = None,
        fault: str | None = None,
    ) -> None:
        self.call, self.status, self.reward, self.score = None, status, float(reward), score
        self.metrics, self.fault = metrics or {}, fault
        if self._steps is None:
            return
        try:
            self._steps.close()
        except Exception as error:  # the episode has ended; its clean-up can't change the outcome
            logger.warning("Clean-up of %s failed: %r", self.example.id, error, exc_info=True)

    def _answer(self, request: Ask) -> Any:
        service = self._services.get(request.service)
        if service is None:
            raise unknown("service", request.service, self._services)
        if self._answers is not None and not service.deterministic:
            answer = self._recorded_answer(request)
        else:
            answer = self._ask(service, request)
        # Record, service and program have a copy each: what one does with it changes no other's.
        asked = {name: to_json_value(value) for name, value in request.request.items()}
        self.asks.append(AskRecord(request.service, asked, to_json_value(answer)))
        return to_json_value(answer)

    def _ask(self, service: Service, request: Ask) -> Any:
        for attempt in range(self._limits.service_retries + 1):
            try:
                return service.answer(**request.request)
            except ServiceFault as fault:
                if attempt == self._limits.service_retries:
                    raise
                wait = self._limits.retry_seconds * 2**attempt
                logger.warning("%s: %s; trying again in %.1f s", request.service, fault, wait)
                time.sleep(wait)
        raise AssertionError("unreachable")

    def _recorded_answer(self, request: Ask) -> Any:
        assert self._answers is not None
        position = len(self.asks)
        if position < len(self._answers):
            recorded = self._answers[position]
            asked = {name: to_json_value(value) for name, value in request.request.items()}
            if (recorded.service, recorded.request) == (request.service, asked):
                return recorded.answer
        raise ServiceFault(
            f"Request {position} to {request.service!r} is not in the record: the run has drifted."
        )


def _check_progress(value: object) -> float:
    """Bring progress to a plain number; raises ProgramFault for what is none in [0, 1]."""
    if not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
        raise ProgramFault(f"Progress must be a number in [0, 1], got {value!r:.60}.")
    return float(value)


def _check_score(score: object) -> tuple[float, Mapping[str, float]]:
    """Bring a score to plain numbers, such as JSON holds; raises ProgramFault for anything else."""
    if not isinstance(score, Score) or not 0.0 <= score.value <= 1.0:
        raise ProgramFault(f"A score must be a Score with a value in [0, 1], got {score!r}.")
    metrics = {name: float(value) for name, value in score.metrics.items()}
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ProgramFault(f"Metric {name!r} must be a finite number, got {value}.")
    return float(score.value), metrics
