"""A toy program for the tests of the environments: two modules, a loop, a service, a reward."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import pytest

from progym.envs.env import ProgramEnv
from progym.envs.errors import ServiceFault
from progym.envs.examples import Examples
from progym.envs.module import Field, Module, ask
from progym.envs.program import Example, Program, Score
from progym.envs.rendering import Call, render_reply
from progym.envs.run import Limits

look_up = Module(
    "look_up", "Write a query.", (Field("question"), Field("notes")), (Field("query"),)
)
answer = Module(
    "answer",
    "Answer the question.",
    (Field("question"), Field("notes")),
    (Field("reasoning"), Field("verdict", choices=("yes", "no"))),
)


def run(question: str):
    notes: tuple[str, ...] = ()
    for _ in range(2):
        reply = yield look_up(question=question, notes=notes)
        found = yield ask("library", query=reply["query"], k=1)
        notes += tuple(found)
    reply = yield answer(question=question, notes=notes)
    return {"verdict": reply["verdict"], "notes": list(notes)}


PROGRAM = Program((look_up, answer), run)


def score(example: Example, outcome: Any) -> Score:
    right = float(outcome["verdict"] == example.gold["verdict"])
    return Score(right, {"accuracy": right, "notes": float(len(outcome["notes"]))})


def gold(example: Example, call: Call) -> dict[str, str]:
    if call.module.name == "look_up":
        return {"query": f"about {example.inputs['question']} {call.occurrence}"}
    return {"reasoning": "as the notes say", "verdict": example.gold["verdict"]}


class Library:
    """Answers with the query itself; counts its requests, from 1, and fails those in `fails`."""

    def __init__(self, deterministic: bool = True, fails: Container[int] = ()) -> None:
        self.deterministic, self.fails, self.asked = deterministic, fails, 0

    def answer(self, query: str, k: int) -> list[str]:
        self.asked += 1
        if self.asked in self.fails:
            raise ServiceFault("the library is closed")
        return [f"{query}!" for _ in range(k)]


def make_toy(program: Program = PROGRAM, **kwargs: Any) -> ProgramEnv:
    rows = [
        Example(f"q{i}", {"question": f"question {i}"}, {"verdict": "no" if i % 3 else "yes"})
        for i in range(5)
    ]
    arguments: dict[str, Any] = {
        "services": {"library": Library()},
        "gold": gold,
        "split": "train",
        "fingerprint": "toy",
        "limits": Limits(retry_seconds=0.0),
    }
    return ProgramEnv(
        program, Examples.of(rows), kwargs.pop("score", score), **{**arguments, **kwargs}
    )


def play_toy(env: Any, replies: Callable[[ProgramEnv], str] | None = None, **reset: Any) -> Any:
    """Play one episode with gold replies, or with what `replies` writes, and give its record."""
    write = replies or gold_reply
    _, info = env.reset(**{"seed": 0, **reset})
    while "record" not in info:
        _, _, _, _, info = env.step(write(env.unwrapped))
    return info["record"]


def gold_reply(env: ProgramEnv) -> str:
    return render_reply(env.pending_call.module, env.gold_fields())


class Toy:
    """What the tests take: the parts above, by one fixture."""

    make = staticmethod(make_toy)
    play = staticmethod(play_toy)
    gold_reply = staticmethod(gold_reply)
    Library = Library
    look_up, answer, program = look_up, answer, PROGRAM


@pytest.fixture
def toy() -> type[Toy]:
    return Toy
