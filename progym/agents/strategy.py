"""Strategies: configured stages in order, and how they are run.

Each stage run has a folder named by its identity, so that what two strategies have in common (the
`po` of `po` and of `po -> mmgrpo` under one seed) is computed once, and what is finished is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from progym.agents.identity import (
    StageIdentity,
    fingerprint_of,
    identify_policy,
    plain,
    versions,
)
from progym.agents.notation import Settings, join_stages, settings_of, split_strategy, stage_of
from progym.agents.policy import Policy, load_policy, save_policy
from progym.agents.processes import join_processes
from progym.agents.stage import Cost, CurvePoint, Report, Stage, StageResult, Task
from progym.agents.storage import alone_in, read_json, write_json
from progym.envs.errors import BadData, MissingExtra, unknown


@dataclass(frozen=True)
class StageEntry:
    """Where a kind of stage lives: `module:name` of its configuration and of the stage itself."""

    config: str
    stage: str
    rollouts: Callable[[Any], int]
    """How many rollouts a configuration asks for, at most; for dry runs."""
    joint: bool = False
    """Whether the processes of a run take part in it together; else the first one runs it."""


def _po_rollouts(config: Any) -> int:
    return config.rollouts


def _mmgrpo_rollouts(config: Any) -> int:
    drawn = config.max_steps * config.examples_per_step * config.rollouts
    watch = config.watch
    if not watch.eval_every:
        return drawn
    evaluations = -(-config.max_steps // watch.eval_every) + 1  # before, between and after
    return drawn + evaluations * watch.eval_examples


STAGES: Mapping[str, StageEntry] = {
    "po": StageEntry(
        "progym.agents.prompting.config:PoConfig",
        "progym.agents.prompting.stage:PromptOptimization",
        _po_rollouts,
    ),
    "mmgrpo": StageEntry(
        "progym.agents.grpo.config:GrpoConfig",
        "progym.agents.grpo.stage:MmGrpo",
        _mmgrpo_rollouts,
        joint=True,
    ),
}
"""The stages that ship, a line each; a stage of your own is another entry."""


@dataclass(frozen=True)
class PlannedStage:
    """A stage that is configured and not yet built: building it may load torch."""

    name: str
    """The stage's, without a variant's."""
    entry: StageEntry
    config: Any
    """The stage's own frozen dataclass."""

    @property
    def rollouts(self) -> int:
        """How many rollouts the stage is asked to draw."""
        return self.entry.rollouts(self.config)

    def build(self) -> Stage:
        """Make the stage."""
        return _load(self.entry.stage)(self.config)


@dataclass(frozen=True)
class Strategy:
    """Stages in order."""

    name: str
    stages: tuple[PlannedStage, ...]


@dataclass(frozen=True)
class StageRun:
    """A finished stage of a strategy; `folder` holds its policy, costs and curve."""

    name: str
    identity: str
    folder: Path
    result: StageResult


def plan_strategy(
    text: str, configs: Settings | None = None, *, known: Mapping[str, StageEntry] = STAGES
) -> Strategy:
    """Read a strategy with its stages' settings; absent settings keep the stage's defaults.

    Raises UnknownName for a stage, a variant or a setting that does not exist.
    """
    names = split_strategy(text, known)
    settings = configs or {}
    for name in settings:
        stage_of(name, known)
    stages = tuple(_plan(name, known, settings) for name in names)
    return Strategy(join_stages(names), stages)


def run_strategy(
    strategy: Strategy, policy: Policy, task: Task, *, seed: int, folder: Path, report: Report
) -> list[StageRun]:
    """Run stages in order, each in `folder/<identity>`; a finished one is read, not run again.

    The last run's `result.policy` is the strategy's outcome, the given policy if there are none.
    """
    runs: list[StageRun] = []
    processes = join_processes()
    if not strategy.stages:
        return runs
    fingerprints = {split: fingerprint_of(task, split) for split in ("train", "val")}
    for planned in strategy.stages:
        identity = StageIdentity(
            env_id=task.env_id,
            env_kwargs=plain(task.kwargs),
            fingerprints=fingerprints,
            policy=identify_policy(policy),
            stage=planned.name,
            config=plain(asdict(planned.config)),
            seed=seed,
            versions=versions(),
        )
        home = folder / identity.digest[:16]
        with alone_in(home) if processes.leads else nullcontext():
            if not processes.first((home / "result.json").is_file):
                processes.first(partial(write_json, home / "identity.json", asdict(identity)))
                place: Any = {"seed": seed, "folder": home / "work", "report": report}
                run = partial(planned.build().run, policy, task, **place)
                result = run() if planned.entry.joint else processes.first(run)
                processes.first(partial(_save, result, home))
        result = load_stage(home)
        runs.append(StageRun(planned.name, identity.digest, home, result))
        policy = result.policy
    return runs


def load_stage(folder: Path) -> StageResult:
    """Read a finished stage; raises BadData where its result is malformed."""
    path = folder / "result.json"
    values = read_json(path)
    try:
        cost = Cost(**values["cost"])
        curve = tuple(CurvePoint(**point) for point in values["curve"])
    except (KeyError, TypeError) as error:
        raise BadData(f"{path}: not a stage's result ({error}).") from error
    return StageResult(load_policy(folder / "policy"), cost, curve)


def _save(result: StageResult, folder: Path) -> None:
    """Write the policy first: result.json says that all is there."""
    save_policy(result.policy, folder / "policy")
    curve = [asdict(point) for point in result.curve]
    write_json(folder / "result.json", {"cost": asdict(result.cost), "curve": curve})


def _plan(name: str, known: Mapping[str, StageEntry], settings: Settings) -> PlannedStage:
    stage, values = stage_of(name, known), settings_of(name, settings)
    entry = known[stage]
    config = _load(entry.config)
    allowed = [field.name for field in fields(config)]
    for key in values:
        if key not in allowed:
            raise unknown(f"setting of stage {name!r}", key, allowed)
    return PlannedStage(stage, entry, config(**values))


def _load(entry_point: str) -> Any:
    module, _, name = entry_point.partition(":")
    try:
        return vars(import_module(module))[name]
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("progym"):
            raise
        raise MissingExtra(
            f"{entry_point} needs the package {error.name!r}: pip install 'progym[train]'."
        ) from error
