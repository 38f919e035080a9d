"""Packs a finished benchmark run into a bundle that others can check without its model."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from progym.benchmarks.provenance import run_versions, weights_digest
from progym.benchmarks.results import Run, read_cells
from progym.envs.errors import BadValue, DataUnavailable, RecordingFailed
from progym.leaderboard.bundle import (
    MANIFEST,
    MAX_BUNDLE_BYTES,
    SCHEMA_VERSION,
    Manifest,
    ProgramFile,
    RunFile,
    folders_of,
    run_folder,
)
from progym.leaderboard.container import write_container
from progym.leaderboard.packed_run import episode_lines, program_values, run_values, to_document
from progym.leaderboard.shown_text import check_text


@dataclass(frozen=True)
class PackReport:
    """What was packed, and where it lies."""

    path: Path
    submission_id: str
    runs: int
    episodes: int
    size: int
    """Bytes of the bundle."""
    sha256: str
    notes: tuple[str, ...]


def pack(run: Path, out: Path | None = None, *, entrant: str | None = None) -> PackReport:
    """Write a run's bundle; the same run and entrant give the same bytes.

    Args:
        run: The folder of a finished run.
        out: The bundle's path; `<submission id>.zip` in the current folder where absent.
        entrant: The name to be listed under; the suite's name and the run's date where absent.

    Raises:
        DataUnavailable: Not a run, or one with cells still to do.
        BadValue: A run with episodes that the system failed, which have no score.
        BadData: A run whose files have changed since they were written.
    """
    finished = read_cells(run)
    _check_finished(finished)
    files: dict[str, bytes] = {}
    episodes = 0
    for cell in finished.cells:
        folder = run_folder(cell.task, cell.strategy, cell.inputs.seed)
        lines = episode_lines(run, cell)
        episodes += len(lines)
        files[f"{folder}/run.json"] = to_document(RunFile, run_values(cell))
        files[f"{folder}/program.json"] = to_document(ProgramFile, program_values(run, cell))
        files[f"{folder}/episodes.jsonl"] = b"".join(lines)
    manifest, notes = _manifest_values(finished, entrant, files)
    files[MANIFEST] = to_document(Manifest, manifest)
    content = write_container(files)
    if len(content) > MAX_BUNDLE_BYTES:
        raise BadValue(
            f"The bundle would have {len(content):,} bytes; at most {MAX_BUNDLE_BYTES:,} are "
            "allowed. Evaluate on fewer examples."
        )
    path = out or Path(f"{manifest['submission_id']}.zip")
    write_file(path, content)
    return PackReport(
        path=path,
        submission_id=manifest["submission_id"],
        runs=len(finished.cells),
        episodes=episodes,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        notes=notes,
    )


def write_file(path: Path, content: bytes) -> None:
    """Write a whole file or leave the old one; raises RecordingFailed."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # a part of the path may not be a folder
            temporary.unlink()
        raise RecordingFailed(
            f"{path} can't be written: {error.strerror}. Give --out another place."
        ) from error


def _check_finished(run: Run) -> None:
    there = {(cell.task, cell.strategy, cell.inputs.seed) for cell in run.cells}
    wanted = [(t, st, s) for t in run.tasks for st in run.strategies for s in run.seeds]
    missing = [cell for cell in wanted if cell not in there]
    if missing:
        task, strategy, seed = missing[0]
        raise DataUnavailable(
            f"{run.folder} is not finished: {len(missing)} of {len(wanted)} cells are missing, "
            f"the first is {task}, {strategy}, seed {seed}. Go on with it by "
            "`progym bench run ... --resume`, then pack it."
        )
    faulted = [cell for cell in run.cells if cell.score is None]
    if faulted:
        raise BadValue(
            f"{run.folder}: the system failed {sum(cell.faults for cell in faulted)} episodes, "
            f"the first in {faulted[0].cell}, so these cells have no score. Mend the cause, go on "
            "with `progym bench run ... --resume`, which runs them again, then pack."
        )


def _manifest_values(
    run: Run, entrant: str | None, files: Mapping[str, bytes]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    info = run.info
    name = entrant or f"{info.suite['name']} run of {info.started[:10]}"
    wrong = check_text(name)
    if wrong:
        raise BadValue(f"The name {name!r} can't be shown: it has {wrong}.")
    weights, notes = _weights(run)
    if info.commit.endswith("+changes"):
        notes += ("progym had changes that are in no commit, so no board takes this run (M15).",)
    listed = [_listed(path, content) for path, content in sorted(files.items())]
    values = {
        "schema_version": SCHEMA_VERSION,
        "submission_id": _submission_id(run, name, listed),
        "suite": {
            "name": info.suite["name"],
            "version": info.suite["version"],
            "digest": info.digest,
        },
        "entrant": {"name": name},
        "base_model": {"name": info.suite["model"], "weights_sha256": weights},
        "tasks": list(run.tasks),
        "strategies": list(run.strategies),
        "seeds": list(run.seeds),
        "versions": dict(info.versions),
        "commit": info.commit,
        "hardware": dict(info.hardware),
        "started": info.started,
        "claims": _claims(run),
        "files": listed,
    }
    if len(folders_of(Manifest.model_validate(values))) != len(run.cells):
        raise BadValue(f"Strategies {list(run.strategies)} need names that differ as folders.")
    return values, notes


def _weights(run: Run) -> tuple[str | None, tuple[str, ...]]:
    """Hash the base model's weights, if they are still those that the run was made with."""
    if run_versions().get("code") != run.info.versions.get("code"):
        note = (
            "progym's code or weights have changed since the run: the base model's hash is left "
            "out, and re-execution decides whether the episodes still hold."
        )
        return None, (note,)
    return weights_digest(str(run.info.suite["model"])), ()


def _submission_id(run: Run, name: str, listed: Sequence[Mapping[str, Any]]) -> str:
    """Name a submission for readers, with a hash at the end that keeps equal names apart."""
    content = hashlib.sha256("".join(file["sha256"] for file in listed).encode()).hexdigest()
    words = f"{run.info.started[:10]}-{run.info.suite['name']}-{name}".lower()
    return f"{re.sub(r'[^a-z0-9]+', '-', words)[:55].strip('-')}-{content[:8]}"


def _claims(run: Run) -> list[dict[str, Any]]:
    claims: list[dict[str, Any]] = []
    for task in run.tasks:
        for strategy in run.strategies:
            means = [c.score for c in run.cells if (c.task, c.strategy) == (task, strategy)]
            mean = sum(mean for mean in means if mean is not None) / len(means)
            claims.append({"task": task, "strategy": strategy, "mean": mean})
    return claims


def _listed(path: str, content: bytes) -> dict[str, Any]:
    return {
        "path": path,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "lines": content.count(b"\n"),
    }
