"""mmGRPO trains on any text environment that says what kind of step it takes."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from letters import config, records

from progym.agents.grpo.stage import MmGrpo
from progym.agents.policy import Policy
from progym.agents.stage import Task

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class Couplet(gymnasium.Env[str, str]):
    """Two lines of letters: the first about a number, the second about the first line."""

    observation_space = action_space = spaces.Text(10_000)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.lines: list[str] = []
        self.number = int(self.np_random.integers(100))
        return f"Write about {self.number}.", {"step_type": ("first", 0)}

    def step(self, action: str):
        self.lines.append(action)
        if len(self.lines) == 1:
            return f"Go on: {action[:4]}", 0.0, False, False, {"step_type": ("second", 0)}
        text = "".join(self.lines)
        return "", sum(map(str.isalpha, text)) / max(len(text), 1), True, False, {}


class Cave(gymnasium.Env[str, str]):
    """A text game of two kinds of step: looks are paid for letters, and moves lead further in."""

    observation_space = action_space = spaces.Text(10_000)

    def __init__(self, depth: int = 3) -> None:
        self.depth = depth

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.place = self.moves = self.looks = 0
        return "A cave. Look around.", {"step_type": ("look", 0)}

    def step(self, action: str):
        if self.moves == self.looks:
            self.looks += 1
            paid = sum(map(str.isalpha, action)) / max(len(action), 1) / self.depth
            info = {"step_type": ("move", self.moves)}
            return f"You see {action[:3]}. Move on.", paid, False, False, info
        self.moves += 1
        self.place += action[:1].islower()
        ended = self.place < self.moves or self.moves == self.depth
        info = {} if ended else {"step_type": ("look", self.looks)}
        return f"Deeper: {self.place}. Look around.", 0.0, ended, False, info


gymnasium.register("Couplet-v0", entry_point=f"{__name__}:Couplet", disable_env_checker=True)
gymnasium.register("Cave-v0", entry_point=f"{__name__}:Cave", disable_env_checker=True)


def train(random_lm, folder, task, **values):
    stage = MmGrpo(config(max_steps=24, watch={"eval_every": 24}, **values))
    return stage.run(Policy(str(random_lm)), task, seed=0, folder=folder, report=lambda *_: None)


def test_a_plain_environment_is_learned(random_lm, tmp_path):
    result = train(random_lm, tmp_path, Task("Couplet-v0"))
    first, last = (point.score for point in result.curve if point.split == "val")
    assert last > first + 0.2
    assert records(tmp_path)[1]["step_types"].keys() == {"first:0", "second:0"}


def test_a_text_game_of_two_kinds_of_step_is_learned(random_lm, tmp_path):
    task = Task("Cave-v0", {"depth": 2})
    result = train(random_lm, tmp_path, task, groups={"padding": "ragged"})
    first, last = (point.score for point in result.curve if point.split == "val")
    assert last > first
    calls = records(tmp_path)[-2]["modules"]
    assert calls["look"]["calls"] >= calls["move"]["calls"] > 0


def test_all_runs_of_an_example_begin_alike(random_lm, tmp_path):
    from progym.agents.grpo.exploring import Explorer
    from progym.agents.grpo.teaching import Actor
    from progym.agents.models import load_trainable

    policy = Policy(str(random_lm))
    actors = [Actor(load_trainable(policy), policy.prompts)]
    explorer = Explorer(Task("Couplet-v0"), policy, actors, config=config(), seed=0)
    begun = [(e.example_id, e.calls[0].prompt[-1]["content"]) for e in explorer.train(0)]
    assert len(begun) == 8
    assert len(set(begun)) == 2
    assert len({tuple(np.ravel(pair)) for pair in begun}) == 2
