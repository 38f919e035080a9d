"""What a finished cell says of itself: the content of cell.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from progym.agents.stage import Cost, CurvePoint
from progym.agents.storage import digest_of, read_json, write_json
from progym.benchmarks.cells import Cell
from progym.envs.errors import BadData

SCHEMA = 1


@dataclass(frozen=True)
class CellInputs:
    """Everything that can change a cell's numbers."""

    env_id: str
    env_kwargs: Mapping[str, Any]
    fingerprint: str
    """Of the evaluated split's data."""
    examples: tuple[str, ...]
    """What the policy was evaluated on, in order; the same for all strategies and seeds."""
    evaluation: Mapping[str, Any]
    model: str
    stages: tuple[str, ...]
    """Identities of the stage runs: settings, data and seeds are in there."""
    policy: str
    """Identity of the policy that was evaluated."""
    seed: int
    versions: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of all fields."""
        return digest_of(asdict(self))


@dataclass(frozen=True)
class StageSummary:
    """A stage of a cell: where it lies in the run, what it cost, how it learned."""

    name: str
    identity: str
    folder: str
    cost: Cost
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class EpisodesFile:
    """The recorded evaluation episodes, by example and repeat."""

    file: str
    count: int
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Where and when a cell was computed; not part of its identity."""

    commit: str
    hardware: Mapping[str, Any]
    started: str
    ended: str


@dataclass(frozen=True)
class CellRecord:
    """One finished cell."""

    suite: str
    suite_version: int
    suite_digest: str
    task: str
    strategy: str
    identity: str
    inputs: CellInputs
    stages: tuple[StageSummary, ...]
    policy_folder: str
    """Relative to the run."""
    scores: tuple[float | None, ...]
    """By example, averaged over repeats; None where an episode ended in a fault of the system."""
    statuses: Mapping[str, int]
    """How many episodes ended how."""
    evaluation_cost: Cost
    episodes: EpisodesFile
    provenance: Provenance

    @property
    def cell(self) -> Cell:
        """The cell it is the record of."""
        return Cell(self.task, self.strategy, self.inputs.seed)

    @property
    def faults(self) -> int:
        """Episodes that the system failed."""
        return self.statuses.get("fault", 0)

    @property
    def score(self) -> float | None:
        """The mean over examples; None if any has no score."""
        known = [score for score in self.scores if score is not None]
        return sum(known) / len(known) if len(known) == len(self.scores) else None

    @property
    def optimization_cost(self) -> Cost:
        """What the strategy costs alone, stages shared with other strategies included."""
        return sum((stage.cost for stage in self.stages), Cost())

    def write(self, run: Path) -> None:
        """Write cell.json, which says that the cell is finished."""
        values = {"schema": SCHEMA, **asdict(self), "score": self.score, "faults": self.faults}
        write_json(self.cell.folder(run) / "cell.json", values)


def read_cell(path: Path) -> CellRecord:
    """Read a cell.json; raises BadData where it is not one."""
    values = read_json(path)
    try:
        if values.pop("schema") != SCHEMA:
            raise BadData(f"{path}: the record of another schema; this version reads {SCHEMA}.")
        return _read(values)
    except (AttributeError, KeyError, TypeError) as error:
        raise BadData(f"{path}: not the record of a cell ({error}).") from error


def _read(values: dict[str, Any]) -> CellRecord:
    content = {key: value for key, value in values.items() if key not in ("score", "faults")}
    inputs = content["inputs"]
    content["inputs"] = CellInputs(**_with_tuples(inputs, "examples", "stages"))
    content["stages"] = tuple(_read_stage(stage) for stage in content["stages"])
    content["scores"] = tuple(content["scores"])
    content["evaluation_cost"] = Cost(**content["evaluation_cost"])
    content["episodes"] = EpisodesFile(**content["episodes"])
    content["provenance"] = Provenance(**content["provenance"])
    return CellRecord(**content)


def _with_tuples(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {**values, **{name: tuple(values[name]) for name in names}}


def _read_stage(values: dict[str, Any]) -> StageSummary:
    content = dict(values)
    content["cost"] = Cost(**values["cost"])
    content["curve"] = tuple(CurvePoint(**point) for point in values["curve"])
    return StageSummary(**content)
