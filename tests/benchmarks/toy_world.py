"""A toy task and toy stages for the benchmark's tests; worker processes import it by name.

The model `gold` earns what an example is worth and `garbage` earns 0, so a stage that swaps the
model shows in the scores. Stages are told by their settings to misbehave once.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from gymnasium import register

from progym.agents.policy import Policy
from progym.agents.stage import Cost, CurvePoint, Report, StageResult, Task
from progym.agents.strategy import StageEntry
from progym.benchmarks.suite import Evaluation, Suite, SuiteTask
from progym.envs.env import ProgramEnv
from progym.envs.errors import RecordingFailed
from progym.envs.examples import Examples
from progym.envs.module import Field, Module
from progym.envs.program import Example, Program, Score
from progym.envs.prompts import ModulePrompt, PromptSet

ENV = "toy_world:Toy-v0"
speak = Module("speak", "Say the word.", (Field("word"),), (Field("reply"),))


def _run(word: str):
    reply = yield speak(word=word)
    return {"reply": reply["reply"]}


def _score(example: Example, outcome) -> Score:
    if example.gold["worth"] < 0:
        raise RuntimeError("the judge is down")
    right = outcome["reply"] == example.inputs["word"]
    return Score(example.gold["worth"] if right else 0.0)


def make_env(*, split: str = "train", size: int = 8, broken: bool = False, render_mode=None):
    """Make the toy: examples are worth 0.5 to 1, or the last one breaks the score."""
    worths = [0.5 + 0.5 * i / (size - 1) for i in range(size)]
    if broken:
        worths[-1] = -1.0
    examples = [
        Example(f"{split}-{i}", {"word": f"w{i}"}, {"worth": worth})
        for i, worth in enumerate(worths)
    ]
    return ProgramEnv(
        Program((speak,), _run),
        Examples.of(examples),
        _score,
        gold=lambda example, call: {"reply": example.inputs["word"]},
        split=split,
        fingerprint=f"toy-{size}-{split}",
        render_mode=render_mode,
    )


register("Toy-v0", entry_point="toy_world:make_env", disable_env_checker=True)


@dataclass(frozen=True)
class ToyConfig:
    """What a toy stage does."""

    model: str = "gold"
    word: str = ""
    rollouts: int = 5
    misbehaviour: str = ""
    """"raise", "die", "kill parent", "interrupt" or "full disk"; all but "raise" only once."""


@dataclass(frozen=True)
class ToyStage:
    """Swaps the model and edits the prompt; counts its runs in `runs.txt`."""

    config: ToyConfig
    name: str = "toy"

    def run(
        self, policy: Policy, task: Task, *, seed: int, folder: Path, report: Report
    ) -> StageResult:
        """Do as the settings say."""
        folder.mkdir(parents=True, exist_ok=True)
        runs = folder / "runs.txt"
        first = not runs.exists()
        with runs.open("a") as file:
            file.write("run\n")
        is_alone = not policy.prompts.modules  # as the first stage of a strategy, that is
        if is_alone and (first or self.config.misbehaviour == "raise"):
            _misbehave(self.config.misbehaviour)
        report("toying", 1, 2)
        report("toying", 2, 2)
        prompts = PromptSet({"speak": ModulePrompt(f"Say it. {self.config.word} {seed}")})
        cost = Cost(self.config.rollouts, self.config.rollouts, 100, 20, 0.5)
        curve = (CurvePoint(0, 0, 0.0, "val"), CurvePoint(1, self.config.rollouts, 0.75, "val"))
        return StageResult(Policy(self.config.model, prompts), cost, curve)


def _misbehave(how: str) -> None:
    if how == "raise":
        raise ValueError("toys break")
    if how == "full disk":
        raise RecordingFailed("Could not write a toy: the disk is full.")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how in ("interrupt", "kill parent"):
        os.kill(os.getppid(), signal.SIGINT if how == "interrupt" else signal.SIGKILL)
        signal.pause()


def _rollouts(config: ToyConfig) -> int:
    return config.rollouts


_ENTRY = StageEntry("toy_world:ToyConfig", "toy_world:ToyStage", _rollouts)
STAGES = {"po": _ENTRY, "mmgrpo": _ENTRY}


def toy_suite(misbehaviour: str = "", *, broken: bool = False) -> Suite:
    """Make a suite of one toy task; `mmgrpo` misbehaves as told."""
    settings = {"po": {"word": "Please."}, "mmgrpo": {"misbehaviour": misbehaviour}}
    task = SuiteTask("toy", ENV, {"broken": broken}, Evaluation(examples=6, repeats=2), settings)
    strategies = ("vanilla", "po", "mmgrpo", "po -> mmgrpo")
    return Suite("toys", 1, "", "garbage", strategies, (0,), (task,))
