"""What the board shows: accepted bundles in tables of what compares, and who ranks where.

Only bundles of one suite on the same data and base weights share a table. Ranks are intervals: an
entry stands between the best and the worst place that the 95 % intervals of the suite means leave
open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from progym.benchmarks.intervals import Estimate, overlap
from progym.leaderboard.bundle import BundledRun, Manifest
from progym.leaderboard.findings import BUNDLE, found
from progym.leaderboard.scoring import Entry
from progym.leaderboard.verification import Verification

SEEDS_TO_RANK = 5
"""Entries with fewer seeds are provisional: few seeds leave little to conclude."""


@dataclass(frozen=True)
class BoardTask:
    """A column of a table."""

    name: str
    env_id: str
    fingerprint: str
    examples: int
    repeats: int


@dataclass(frozen=True)
class BoardRow:
    """A strategy of a bundle, and where it ranks."""

    manifest: Manifest
    entry: Entry
    best_rank: int
    worst_rank: int
    stands_out: bool
    """First, and its interval overlaps no other's."""

    @property
    def is_provisional(self) -> bool:
        """Whether it has fewer seeds than a rank needs."""
        return len(self.entry.seeds) < SEEDS_TO_RANK


@dataclass(frozen=True)
class BoardTable:
    """Entries that compare: one suite, the same data, the same base weights."""

    suite: str
    version: int
    digest: str
    weights: str | None
    """SHA-256 of the base model's weights; None where the bundles don't say."""
    tasks: tuple[BoardTask, ...]
    rows: tuple[BoardRow, ...]
    """By suite mean, the highest first."""


@dataclass(frozen=True)
class Board:
    """Everything that the pages show."""

    tables: tuple[BoardTable, ...]
    verifications: tuple[Verification, ...]


def arrange(verifications: Sequence[Verification]) -> Board:
    """Sort verified bundles into tables; a bundle that is there already becomes a refused one."""
    checked = _refuse_doubles(sorted(verifications, key=lambda v: v.name))
    groups: dict[tuple[str, str | None, tuple[BoardTask, ...]], list[Verification]] = {}
    for verification in checked:
        if verification.outcome == "accepted" and verification.bundle is not None:
            manifest = verification.bundle.manifest
            tasks = _tasks(manifest, verification.bundle.runs)
            key = (manifest.suite.digest, manifest.base_model.weights_sha256, tasks)
            groups.setdefault(key, []).append(verification)
    tables = [_table(tasks, group) for (_, _, tasks), group in groups.items()]
    tables.sort(key=lambda table: (table.suite, -table.version, table.digest, table.weights or ""))
    return Board(tuple(tables), tuple(checked))


def rank_intervals(estimates: Sequence[Estimate]) -> list[tuple[int, int]]:
    """Give each the best and the worst rank that the intervals leave open."""
    return [
        (
            1 + sum(other.low > one.high for other in estimates),
            len(estimates) - sum(other.high < one.low for other in estimates),
        )
        for one in estimates
    ]


def _refuse_doubles(verifications: Sequence[Verification]) -> list[Verification]:
    seen: dict[object, str] = {}
    checked: list[Verification] = []
    for verification in verifications:
        if verification.outcome != "accepted" or verification.bundle is None:
            checked.append(verification)
            continue
        manifest = verification.bundle.manifest
        content = tuple(sorted(f.sha256 for f in manifest.files if f.path.endswith(".jsonl")))
        twin = seen.get(manifest.submission_id) or seen.get(content)
        seen |= {manifest.submission_id: verification.name, content: verification.name}
        if twin is not None:
            double = found("D06", BUNDLE, expected="a bundle of its own", given=f"as in {twin}")
            verification = replace(verification, outcome="refused", findings=(double,), entries=())
        checked.append(verification)
    return checked


def _tasks(manifest: Manifest, runs: Sequence[BundledRun]) -> tuple[BoardTask, ...]:
    tasks: list[BoardTask] = []
    for name in manifest.tasks:
        first = next(run for run in runs if run.run.task == name)
        repeats = first.run.evaluation.repeats
        examples = len(first.episodes) // repeats
        run = first.run
        tasks.append(BoardTask(name, run.env_id, run.fingerprint, examples, repeats))
    return tuple(tasks)


def _table(tasks: tuple[BoardTask, ...], group: Sequence[Verification]) -> BoardTable:
    entries = [(v.bundle.manifest, entry) for v in group if v.bundle for entry in v.entries]
    entries.sort(key=lambda pair: -pair[1].mean.value)  # stable: equal means keep bundle order
    means = [entry.mean for _, entry in entries]
    ranks = rank_intervals(means)
    rows = tuple(
        BoardRow(manifest, entry, *ranks[position], stands_out=_stands_out(position, means))
        for position, (manifest, entry) in enumerate(entries)
    )
    suite, weights = rows[0].manifest.suite, rows[0].manifest.base_model.weights_sha256
    return BoardTable(suite.name, suite.version, suite.digest, weights, tasks, rows)


def _stands_out(position: int, means: Sequence[Estimate]) -> bool:
    others = [mean for number, mean in enumerate(means) if number != position]
    return position == 0 and bool(others) and not any(overlap(means[0], o) for o in others)
