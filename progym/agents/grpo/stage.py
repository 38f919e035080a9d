"""The stage `mmgrpo`: trains an adapter on a task's train split by groups of module calls.

Its folder holds `metrics.jsonl` (a line an update, a line an evaluation), `adapter/` and, once it
has ended, `stage.json`. Validation samples as training does; it is written down, not chosen by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progym.agents.grpo.config import GrpoConfig
from progym.agents.identity import identify_policy
from progym.agents.models import load_trainable
from progym.agents.policy import Policy
from progym.agents.stage import Cost, CurvePoint, Report, StageResult, Task
from progym.agents.storage import digest_of, read_json, write_json
from progym.envs.errors import BadData, BadValue, MissingExtra

if TYPE_CHECKING:
    from progym.agents.models.transformers_lm import TransformersModel


@dataclass(frozen=True)
class MmGrpo:
    """mmGRPO with one adapter for all modules; goes on with the policy's adapter if it has one."""

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
            TrainingDiverged: Loss or gradient stopped being finite; no adapter is written.
        """
        identity = _identify(self.config, policy, task, seed)
        finished = _read(folder, identity, policy)
        if finished is not None:
            return finished
        started = time.perf_counter()
        learning, adapters = _import_training()
        from progym.agents.grpo.exploring import Explorer

        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "identity.json", {"identity": identity})
        report(self.name, 0, self.config.max_steps)
        model = self.load(policy)
        explorer = Explorer(task, policy, model, config=self.config, seed=seed)
        learner = learning.Learner(
            model, explorer, self.config, folder=folder, seed=seed, report=report
        )
        trained = learner.learn()
        adapters.save_adapter(
            trained, folder / "adapter", adapters.Base(model.name, model.fingerprint)
        )
        cost = replace(explorer.cost, seconds=time.perf_counter() - started)
        curve = tuple(explorer.curve)
        values = {"cost": asdict(cost), "curve": [asdict(point) for point in curve]}
        write_json(folder / "stage.json", {"identity": identity, **values})
        return StageResult(replace(policy, adapter=folder / "adapter"), cost, curve)


def _read(folder: Path, identity: str, policy: Policy) -> StageResult | None:
    """Give the result of a finished run, None where there is none."""
    path = folder / "identity.json"
    if path.is_file() and read_json(path) != {"identity": identity}:
        raise BadValue(
            f"{folder} holds an mmgrpo run with another config, policy, task or seed. "
            "Give it a folder of its own, or delete this one."
        )
    path = folder / "stage.json"
    if not path.is_file():
        return None
    values = read_json(path)
    try:
        cost, curve = Cost(**values["cost"]), tuple(CurvePoint(**p) for p in values["curve"])
    except (KeyError, TypeError) as error:
        raise BadData(f"{path}: not a finished mmgrpo run ({error}).") from error
    return StageResult(replace(policy, adapter=folder / "adapter"), cost, curve)


def _identify(config: GrpoConfig, policy: Policy, task: Task, seed: int) -> str:
    values = {"config": asdict(config), "policy": identify_policy(policy), "seed": seed}
    return digest_of(_named({**values, "env_id": task.env_id, "env_kwargs": dict(task.kwargs)}))


def _named(value: Any) -> Any:
    """Replace functions by their names, so that a config with functions can be hashed."""
    if isinstance(value, Mapping):
        return {key: _named(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    return value


def _import_training() -> tuple[Any, Any]:
    try:
        from progym.agents.grpo import learning
        from progym.agents.models import adapters
    except ImportError as error:
        raise MissingExtra(
            f"mmgrpo needs torch, trl and peft ({error}): pip install 'progym[train]'."
        ) from error
    return learning, adapters
