"""The stage `mmgrpo`: trains an adapter on a task's train split by groups of module calls.

Its folder holds `metrics.jsonl` (a line an update, a line an evaluation), `runs.jsonl` (episodes of
some steps), `adapter/` and, once it has ended, `stage.json`; until then `checkpoint.pt`, from which
a killed run goes on and ends as if it had not been. Validation samples as training does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progym.agents.grpo.config import GrpoConfig
from progym.agents.identity import claim_folder
from progym.agents.models import load_trainable
from progym.agents.policy import Policy
from progym.agents.processes import join_processes
from progym.agents.stage import Cost, CurvePoint, Report, StageResult, Task
from progym.agents.storage import read_json, write_json
from progym.envs.errors import BadData, MissingExtra

if TYPE_CHECKING:
    from progym.agents.models.transformers_lm import TransformersModel


@dataclass(frozen=True)
class MmGrpo:
    """mmGRPO; the adapters it trains begin as copies of the policy's, if it has any."""

    config: GrpoConfig = field(default_factory=GrpoConfig)
    load: Callable[[Policy], TransformersModel] = load_trainable
    name: str = "mmgrpo"

    def run(
        self, policy: Policy, task: Task, *, seed: int, folder: Path, report: Report
    ) -> StageResult:
        """Train; a folder that holds the finished run of these arguments gives its result at once.

        Raises:
            BadValue: The folder holds a run with other arguments.
            ServiceFault: A whole step, or any episode of an evaluation, ended in a fault.
            TrainingDiverged: The loss passed its limit, or something stopped being finite; no
                adapter is written.
            BadData: The folder's checkpoint is corrupt.
        """
        processes = join_processes()
        values: Any = {"config": self.config, "policy": policy, "task": task, "seed": seed}
        identity = processes.first(lambda: claim_folder(folder, self.name, **values))
        finished = processes.first(lambda: _read(folder, policy))
        if finished is not None:
            return finished
        learning, adapting = _import_training()
        from progym.agents.grpo.exploring import Explorer
        from progym.agents.grpo.teaching import gather_actors
        from progym.agents.models import load_model

        report(self.name, 0, self.config.max_steps)
        model = self.load(policy)
        others = {module: load_model(spec) for module, spec in policy.models.items()}
        actors = gather_actors(self.config.teaching.teachers, model, policy, others)
        explorer = Explorer(
            task, policy, actors, config=self.config, seed=seed, processes=processes
        )
        learner = learning.Learner(
            model,
            explorer,
            self.config,
            folder=folder,
            seed=seed,
            report=report,
            processes=processes,
        )
        learner.learn()

        def keep() -> StageResult:
            trained = adapting.save_trained(
                model,
                learner.adapting,
                policy,
                folder,
                modules=explorer.modules,
                frozen=self.config.lora.frozen,
            )
            cost = replace(explorer.cost, seconds=learner.seconds)
            result = StageResult(trained, cost, tuple(explorer.curve))
            _write(result, identity, folder)
            (folder / learning.CHECKPOINT).unlink(missing_ok=True)
            return result

        return processes.first(keep)


def _write(result: StageResult, identity: str, folder: Path) -> None:
    policy = result.policy
    values = {
        "identity": identity,
        "cost": asdict(result.cost),
        "curve": [asdict(point) for point in result.curve],
        "adapter": _below(folder, policy.adapter),
        "adapters": {name: _below(folder, path) for name, path in policy.adapters.items()},
    }
    write_json(folder / "stage.json", values)


def _below(folder: Path, path: Path | None) -> str | None:
    """Say where an adapter lies below a folder; None for one that the policy came with."""
    return path.relative_to(folder).as_posix() if path and path.is_relative_to(folder) else None


def _read(folder: Path, policy: Policy) -> StageResult | None:
    """Give the result of a finished run, None where there is none."""
    path = folder / "stage.json"
    if not path.is_file():
        return None
    values = read_json(path)
    try:
        cost, curve = Cost(**values["cost"]), tuple(CurvePoint(**p) for p in values["curve"])
        places = {name: place for name, place in values["adapters"].items() if place}
        adapter = folder / values["adapter"] if values["adapter"] else policy.adapter
    except (KeyError, TypeError, AttributeError) as error:
        raise BadData(f"{path}: not a finished mmgrpo run ({error}).") from error
    adapters = {**policy.adapters, **{name: folder / place for name, place in places.items()}}
    return StageResult(replace(policy, adapter=adapter, adapters=adapters), cost, curve)


def _import_training() -> tuple[Any, Any]:
    try:
        from progym.agents.grpo import adapting, learning
    except ImportError as error:
        raise MissingExtra(
            f"mmgrpo needs torch, trl and peft ({error}): pip install 'progym[train]'."
        ) from error
    return learning, adapting
