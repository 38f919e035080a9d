"""Run folders made up from random numbers, for tests of what is computed and drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from progym.agents.stage import Cost, CurvePoint
from progym.agents.storage import write_json
from progym.benchmarks.cell_record import (
    CellInputs,
    CellRecord,
    EpisodesFile,
    Provenance,
    StageSummary,
)
from progym.benchmarks.cells import Cell, cells_of
from progym.benchmarks.run_folder import RunInfo
from progym.benchmarks.suite import Evaluation, Suite, SuiteTask

STRATEGIES = ("vanilla", "po", "mmgrpo", "po -> mmgrpo")
_GAINS = {"vanilla": 0.0, "po": 0.06, "mmgrpo": 0.17, "po -> mmgrpo": 0.24}


def fake_suite(*, tasks: int = 3, examples: int = 60, seeds: Sequence[int] = (0, 1, 2)) -> Suite:
    envs = ("Banking77-v0", "HoVer4Hop-v0", "PAPILLON-v0")[:tasks]
    return Suite(
        name="made-up",
        version=1,
        description="Random numbers in the shape of results.",
        model="tiny",
        strategies=STRATEGIES,
        seeds=tuple(seeds),
        tasks=tuple(
            SuiteTask(env.split("-")[0].lower(), env, evaluation=Evaluation(examples=examples))
            for env in envs
        ),
    )


def write_fake_run(folder: Path, suite: Suite, *, skip: Sequence[Cell] = ()) -> Suite:
    """Write run.json and the cells of a made-up run."""
    began, versions = "2026-01-01", {"progym": "0"}
    info = RunInfo(asdict(suite), suite.digest, "", {}, versions, 1, began, "", {"cores": 2})
    write_json(folder / "run.json", {"schema": 1, **asdict(info)})
    for cell in cells_of(suite):
        if cell not in skip:
            fake_cell(suite, cell).write(folder)
    return suite


def fake_cell(suite: Suite, cell: Cell, *, faults: int = 0) -> CellRecord:
    """Make up a cell: scores between 0 and 1 around what its strategy gains."""
    task = suite.task(cell.task)
    n = task.evaluation.examples
    rng = np.random.default_rng([suite.tasks.index(task), cell.seed, len(cell.strategy)])
    base = np.random.default_rng(suite.tasks.index(task)).uniform(0.1, 0.7, n)
    shift = _GAINS[cell.strategy] + rng.normal(0, 0.02)
    values = np.clip(base + shift + rng.normal(0, 0.15, n), 0, 1)
    scores = [float(value) for value in values]
    known: list[float | None] = [*scores[: n - faults], *[None] * faults]
    stages = tuple(
        _fake_stage(name, rng, shift)
        for name in cell.strategy.split(" -> ")
        if cell.strategy != "vanilla"
    )
    inputs = CellInputs(
        env_id=task.env,
        env_kwargs={},
        fingerprint=f"data-{cell.task}",
        examples=tuple(f"test-{i}" for i in range(n)),
        evaluation=asdict(task.evaluation),
        model=suite.model,
        stages=tuple(stage.identity for stage in stages),
        policy=str(cell),
        seed=cell.seed,
        versions={"progym": "0"},
    )
    return CellRecord(
        suite=suite.name,
        suite_version=suite.version,
        suite_digest=suite.digest,
        task=cell.task,
        strategy=cell.strategy,
        identity=inputs.digest,
        inputs=inputs,
        stages=stages,
        policy_folder="stages/none/policy",
        scores=tuple(known),
        statuses={"ok": n - faults, **({"fault": faults} if faults else {})},
        evaluation_cost=Cost(n, 3 * n, 400 * n, 30 * n, 4.0),
        episodes=EpisodesFile("episodes.jsonl", n, "0" * 64),
        provenance=Provenance("", {}, "2026-01-01", "2026-01-01"),
    )


def _fake_stage(name: str, rng: np.random.Generator, shift: float) -> StageSummary:
    if name == "po":
        cost = Cost(int(rng.integers(550, 600)), 1800, 500_000, 40_000, 21.0)
        curve = [CurvePoint(0, 60, 0.4, "train")]
        curve += [CurvePoint(i, 420 + 60 * i, 0.4 + 0.02 * i, "val") for i in range(3)]
    else:
        cost = Cost(1600, 4800, 1_500_000, 130_000, 80.0)
        noise = rng.normal(0, 0.03, 26)
        curve = [
            CurvePoint(i, 64 * i, 0.35 + shift * i / 25 + float(noise[i]), "train")
            for i in range(26)
        ]
        curve += [
            CurvePoint(i, 64 * i, 0.4 + shift * i / 25 + float(noise[i]) / 3, "val")
            for i in range(0, 26, 5)
        ]
    return StageSummary(
        name, f"{name}-{rng.integers(1_000_000)}", f"stages/{name}", cost, tuple(curve)
    )
