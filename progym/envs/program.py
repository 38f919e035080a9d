"""Programs: generators that yield module calls and service requests and return what they made.

    def run(claim):
        titles = yield ask("retriever", query=claim, k=3)
        reply = yield generate_query(claim=claim, key_facts="")
        return {"titles": titles, "query": reply["followup_search_query"]}

Ordinary control flow becomes a multi-step environment. A program holds no LM and no service.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from progym.envs.errors import BadValue
from progym.envs.module import Ask, Invocation, Module
from progym.envs.records import AskRecord
from progym.envs.rendering import Call

Outcome = Mapping[str, Any]
"""What a program returns: JSON values by name, read by the score."""

Steps = Generator[Invocation | Ask, Any, Outcome]
"""A running program: sends back a mapping of output fields for a call, JSON for a request."""


@dataclass(frozen=True)
class Example:
    """One row of a task: what the program is given, and what only the score may see."""

    id: str
    inputs: Mapping[str, Any]
    gold: Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """What an outcome is worth: `value` in [0, 1], and the parts it is made of."""

    value: float
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


class Service(Protocol):
    """What a program asks besides modules: a retriever, an untrusted model, a judge.

    `answer` gives JSON values. It raises ServiceFault where another try may help. A service that is
    not `deterministic` (an endpoint) is answered from the record when an episode is replayed.
    """

    @property
    def deterministic(self) -> bool:
        """Whether equal requests get equal answers, bit for bit, on any machine."""
        ...

    # `*_` lets a service name the parameters that it takes: with it the types are "any arguments".
    def answer(self, *_: Any, **request: Any) -> Any:
        """Answer one request, given by keywords."""
        ...


ScoreFunction = Callable[[Example, Outcome], Score | Generator[Ask, Any, Score]]
"""Scores an outcome against an example; a generator where it must ask a judge."""

ProgressFunction = Callable[[Example, Sequence[AskRecord]], float]
"""Says how far an episode has come, in [0, 1], by what its services were asked and answered so far;
what learners credit single calls by. It has to be cheap: it is asked after every request."""

GoldPolicy = Callable[[Example, Call], Mapping[str, str]]
"""Writes a call's right output fields, knowing the example's gold: the upper bound of a task."""


@dataclass(frozen=True)
class Program:
    """Control flow over modules: `run(**example.inputs)` yields calls and requests."""

    modules: tuple[Module, ...]
    run: Callable[..., Steps]

    def __post_init__(self) -> None:
        names = [module.name for module in self.modules]
        if len(set(names)) != len(names):
            raise BadValue(f"A program's modules need names of their own, found {names}.")

    @cached_property
    def names(self) -> frozenset[str]:
        """The modules' names; a pickled program has modules of its own, so names identify them."""
        return frozenset(module.name for module in self.modules)
