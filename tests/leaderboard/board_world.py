"""A toy task, a toy model and a toy stage: a bench run in a moment, with scores that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np

from progym.agents.model import GenerationRequest, Sampling
from progym.agents.policy import Policy
from progym.agents.stage import Cost, Report, StageResult, Task
from progym.agents.strategy import StageEntry
from progym.benchmarks.suite import Evaluation, Suite, SuiteTask
from progym.envs.env import ProgramEnv
from progym.envs.examples import Examples
from progym.envs.module import Field, Module, ask
from progym.envs.program import Example, Program, Score
from progym.envs.prompts import ModulePrompt, PromptSet
from progym.envs.records import Completion

ENV = "BoardToy-v0"
hint = Module("hint", "Ask for a hint.", (Field("word"),), (Field("query"),))
speak = Module("speak", "Say the word.", (Field("word"), Field("hint")), (Field("reply"),))


class Echo:
    """Answers a query with itself, louder."""

    deterministic = True

    def answer(self, *, query: str) -> list[str]:
        """Answer one request."""
        return [query.upper()]


def _run(word: str):
    asked = yield hint(word=word)
    heard = yield ask("echo", query=asked["query"])
    reply = yield speak(word=word, hint=tuple(heard))
    return {"reply": reply["reply"]}


def _score(example: Example, outcome) -> Score:
    right = float(outcome["reply"] == example.inputs["word"])
    return Score(right * example.gold["worth"], {"right": right})


def make_env(*, split: str = "train", size: int = 6, render_mode=None) -> ProgramEnv:
    """Make the toy: examples are worth 0.5 to 1."""
    examples = [
        Example(f"{split}-{i}", {"word": f"wörd {i}"}, {"worth": 0.5 + 0.5 * i / (size - 1)})
        for i in range(size)
    ]
    return ProgramEnv(
        Program((hint, speak), _run),
        Examples.of(examples),
        _score,
        services={"echo": Echo()},
        gold=lambda example, call: {"reply": example.inputs["word"]},
        split=split,
        fingerprint=f"toy-{size}-{split}",
        render_mode=render_mode,
    )


if ENV not in gymnasium.registry:
    gymnasium.register(ENV, entry_point="board_world:make_env", disable_env_checker=True)


class ToyModel:
    """Right more often if the instruction says so; sometimes it writes what can't be read."""

    name = "toy"

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling
    ) -> list[Completion]:
        """Answer every request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: GenerationRequest) -> Completion:
        assert request.call is not None
        luck = np.random.default_rng(request.seed).random()
        likely = 0.9 if "Really" in request.messages[0]["content"] else 0.4
        word = request.call.inputs["word"]
        if request.call.module.name == "hint":
            text = f"Query: what is {word}? ({luck:.3f})"
        elif luck < likely:
            text = f"Reply: {word}"
        else:
            text = "Reply: no idea" if luck < 0.95 else "mumble"
        return Completion(text, prompt=request.messages, usage=(20, len(text.split())))


@dataclass(frozen=True)
class ToyConfig:
    """What the toy stage does: nothing to be said."""

    rollouts: int = 5


@dataclass(frozen=True)
class ToyStage:
    """Writes a better instruction."""

    config: ToyConfig
    name: str = "po"

    def run(
        self, policy: Policy, task: Task, *, seed: int, folder: Path, report: Report
    ) -> StageResult:
        """Optimize."""
        prompts = PromptSet({"speak": ModulePrompt(f"Really say the word. {seed}")})
        return StageResult(Policy(policy.model, prompts), Cost(5, 10, 200, 30, 0.5))


def _rollouts(config: ToyConfig) -> int:
    return config.rollouts


STAGES = {"po": StageEntry("board_world:ToyConfig", "board_world:ToyStage", _rollouts)}


def make_suite(*, name: str = "toys", seeds: Sequence[int] = (0, 1, 2), examples: int = 4) -> Suite:
    """Make a suite of two tasks and two strategies."""
    settings = Evaluation("test", examples, repeats=2, temperature=1.0)
    return Suite(
        name=name,
        version=1,
        description="Toys.",
        model="gold",
        strategies=("vanilla", "po"),
        seeds=tuple(seeds),
        tasks=(
            SuiteTask("toy", ENV, {"size": 6}, settings),
            SuiteTask("big-toy", ENV, {"size": 9}, settings),
        ),
    )
