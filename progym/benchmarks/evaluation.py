"""One cell: run its strategy, score the policy it ends with, and write both down.

A fault of the system is no score: an episode that ends in one keeps its record, counts into the
cell's faults, and leaves the cell without a mean. Averaging the rest would favour a strategy that
breaks the system on hard examples, and 0 would blame the policy for the system.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from progym.agents.identity import fingerprint_of, identify_policy
from progym.agents.models import load_model
from progym.agents.policy import Policy, save_policy
from progym.agents.rollouts import roll_out
from progym.agents.stage import Report, Task, cost_of
from progym.agents.storage import cannot_write
from progym.agents.strategy import STAGES, StageEntry, StageRun, run_strategy
from progym.benchmarks.cell_record import (
    CellInputs,
    CellRecord,
    EpisodesFile,
    Provenance,
    StageSummary,
)
from progym.benchmarks.cells import Cell, pick_examples, plan_evaluation
from progym.benchmarks.provenance import commit, hardware, run_versions
from progym.benchmarks.suite import Suite, SuiteTask
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue
from progym.envs.recording import EpisodeWriter
from progym.envs.records import Episode


def run_cell(
    suite: Suite,
    cell: Cell,
    run: Path,
    *,
    report: Report,
    known: Mapping[str, StageEntry] = STAGES,
) -> CellRecord:
    """Compute a cell and write its folder, cell.json last."""
    started = _now()
    setup = suite.task(cell.task)
    task = Task(setup.env, setup.kwargs)
    stages = run_strategy(
        suite.plan(setup, cell.strategy, known),
        Policy(suite.model),
        task,
        seed=cell.seed,
        folder=run / "stages",
        report=report,
    )
    home = stages[-1].folder / "policy" if stages else cell.folder(run) / "policy"
    policy = stages[-1].result.policy if stages else save_policy(Policy(suite.model), home)
    inputs = _inputs(suite, cell, task, stages, policy)
    episodes, seconds = _roll_out(setup, task, policy, inputs, report)
    record = CellRecord(
        suite=suite.name,
        suite_version=suite.version,
        suite_digest=suite.digest,
        task=cell.task,
        strategy=cell.strategy,
        identity=inputs.digest,
        inputs=inputs,
        stages=tuple(_summary(stage, run) for stage in stages),
        policy_folder=home.relative_to(run).as_posix(),
        scores=mean_by_example([e.score for e in episodes], setup.evaluation.repeats),
        statuses=dict(Counter(episode.status for episode in episodes)),
        evaluation_cost=cost_of(episodes, seconds),
        episodes=_write_episodes(episodes, cell.folder(run) / "episodes.jsonl"),
        provenance=Provenance(commit(), hardware(), started, _now()),
    )
    record.write(run)
    return record


def _inputs(
    suite: Suite, cell: Cell, task: Task, stages: Sequence[StageRun], policy: Policy
) -> CellInputs:
    setup = suite.task(cell.task)
    return CellInputs(
        env_id=setup.env,
        env_kwargs=setup.kwargs,
        fingerprint=fingerprint_of(task, setup.evaluation.split),
        examples=_examples(suite, setup, task),
        evaluation=asdict(setup.evaluation),
        model=suite.model,
        stages=tuple(stage.identity for stage in stages),
        policy=identify_policy(policy),
        seed=cell.seed,
        versions=run_versions(),
    )


def mean_by_example(scores: Sequence[float | None], repeats: int) -> tuple[float | None, ...]:
    """Average the repeats of each example, which lie side by side; None where one is no score."""
    means: list[float | None] = []
    for begin in range(0, len(scores), repeats):
        known = [score for score in scores[begin : begin + repeats] if score is not None]
        means.append(sum(known) / repeats if len(known) == repeats else None)
    return tuple(means)


def _examples(suite: Suite, setup: SuiteTask, task: Task) -> tuple[str, ...]:
    env = task.make(setup.evaluation.split)
    try:
        program = env.unwrapped
        if not isinstance(program, ProgramEnv):
            raise BadValue(f"{setup.env} is not a program environment, which suites are made of.")
        return pick_examples(suite, setup, program.examples.ids)
    finally:
        env.close()


def _roll_out(
    setup: SuiteTask, task: Task, policy: Policy, inputs: CellInputs, report: Report
) -> tuple[list[Episode], float]:
    """Run the evaluation's episodes; the seconds leave out loading the model."""
    evaluation = setup.evaluation
    requests = plan_evaluation(setup, inputs.examples, inputs.seed)
    report("evaluation", 0, len(requests))
    model = load_model(policy)
    begun = time.perf_counter()
    episodes = roll_out(
        lambda: task.make(evaluation.split),
        model,
        policy.prompts,
        requests,
        sampling=evaluation.sampling,
        progress=lambda done, total: report("evaluation", done, total),
    )
    return episodes, time.perf_counter() - begun


def _write_episodes(episodes: Sequence[Episode], path: Path) -> EpisodesFile:
    """Write all episodes anew: a file without its cell.json is what a kill left behind."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    with EpisodeWriter(path) as writer:
        for episode in episodes:
            writer.write(episode)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return EpisodesFile(path.name, len(episodes), digest)


def _summary(stage: StageRun, run: Path) -> StageSummary:
    return StageSummary(
        name=stage.name,
        identity=stage.identity,
        folder=stage.folder.relative_to(run).as_posix(),
        cost=stage.result.cost,
        curve=stage.result.curve,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
