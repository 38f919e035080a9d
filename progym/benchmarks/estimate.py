"""What a suite would cost, before it is run: cells, stage runs, rollouts and rough tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from progym.agents.model import Sampling
from progym.agents.models.scripted import GoldModel
from progym.agents.rollouts import requests_for, roll_out
from progym.agents.stage import Task
from progym.agents.strategy import STAGES, PlannedStage, StageEntry
from progym.benchmarks.suite import Suite, SuiteTask
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue
from progym.envs.prompts import PromptSet

_SAMPLED = 4
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class EpisodeSize:
    """How large an episode with plain prompts and right replies is; demos make prompts longer."""

    calls: float
    tokens: float


@dataclass(frozen=True)
class PlannedRow:
    """One strategy on one task: what each seed costs by itself."""

    task: str
    strategy: str
    seeds: int
    optimization_rollouts: int
    """At most; the stages' budgets."""
    evaluation_episodes: int
    tokens: int
    """Of optimization and evaluation, roughly: four characters a token."""


@dataclass(frozen=True)
class CostEstimate:
    """A suite's cost; the totals count the stages that strategies share once."""

    rows: tuple[PlannedRow, ...]
    cells: int
    stage_runs: int
    rollouts: int
    """Optimization and evaluation."""
    tokens: int


def dry_run(suite: Suite, known: Mapping[str, StageEntry] = STAGES) -> CostEstimate:
    """Say what a suite would cost, from its settings and a few episodes played by the book."""
    rows: list[PlannedRow] = []
    stage_runs = rollouts = tokens = 0
    seeds = len(suite.seeds)
    for task in suite.tasks:
        size = measure_episode(task)
        evaluated = task.evaluation.examples * task.evaluation.repeats
        planned: list[tuple[PlannedStage, ...]] = []  # each with the stages that come before it
        for strategy in suite.strategies:
            stages = suite.plan(task, strategy, known).stages
            beginnings = (stages[: position + 1] for position in range(len(stages)))
            planned += [beginning for beginning in beginnings if beginning not in planned]
            drawn = sum(stage.rollouts for stage in stages)
            spent = round((drawn + evaluated) * size.tokens)
            rows.append(PlannedRow(task.name, strategy, seeds, drawn, evaluated, spent))
        learning = sum(beginning[-1].rollouts for beginning in planned)
        here = seeds * (learning + evaluated * len(suite.strategies))
        stage_runs += seeds * len(planned)
        rollouts += here
        tokens += round(here * size.tokens)
    return CostEstimate(tuple(rows), len(rows) * seeds, stage_runs, rollouts, tokens)


def measure_episode(setup: SuiteTask) -> EpisodeSize:
    """Measure a few gold episodes, or the first calls only where more would ask an endpoint."""
    task = Task(setup.env, setup.kwargs)
    env = task.make("train")
    try:
        program = env.unwrapped
        if not isinstance(program, ProgramEnv):
            raise BadValue(f"{setup.env} is not a program environment, which suites are made of.")
        ids = program.examples.ids[:_SAMPLED]
        is_offline = all(service.deterministic for service in program.services.values())
        if program.gold is None or not is_offline:
            shown = [program.reset(options={"example_id": name})[0] for name in ids]
            calls = len(program.program.modules)
            return EpisodeSize(
                calls, calls * sum(map(len, shown)) / len(ids) / _CHARACTERS_PER_TOKEN
            )
    finally:
        env.close()
    episodes = roll_out(
        lambda: task.make("train"),
        GoldModel(),
        PromptSet(),
        requests_for(ids, repeats=1, seed=0),
        sampling=Sampling(),
    )
    made = [call for episode in episodes for call in episode.calls]
    characters = sum(
        len(call.completion) + sum(len(message["content"]) for message in call.prompt)
        for call in made
    )
    n = len(episodes)
    return EpisodeSize(len(made) / n, characters / n / _CHARACTERS_PER_TOKEN)
