"""The folder of a run: which suite, model, data and versions it belongs to, and who writes in it.

RUN/run.json                               what it belongs to, threads; written first
RUN/run.lock                               held by the writing process, and left behind by it
RUN/stages/<identity>/                     one run of one stage, shared by strategies
RUN/cells/<task>/<strategy>/seed-<n>/      cell.json (written last), episodes.jsonl
RUN/results.json .csv .md, report.html, *.svg, *.png
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from progym.agents.identity import changed_versions, fingerprint_of, identify_policy
from progym.agents.notation import VANILLA
from progym.agents.policy import Policy
from progym.agents.stage import Task
from progym.agents.storage import cannot_write, read_json, write_json
from progym.benchmarks.provenance import commit, hardware, run_versions
from progym.benchmarks.suite import Suite
from progym.envs.errors import BadData, BadValue, DataUnavailable

SCHEMA = 1
_LOCK = "run.lock"


@dataclass(frozen=True)
class RunInfo:
    """What run.json says."""

    suite: Mapping[str, Any]
    digest: str
    base: str
    """Identity of the policy that strategies begin with, a model folder's weights included."""
    data: Mapping[str, Mapping[str, str]]
    """Fingerprints of the splits that are used, by task."""
    versions: Mapping[str, str]
    threads: int
    """Threads a worker computes with. Sums depend on it, so a resumed run keeps it."""
    started: str
    commit: str
    hardware: Mapping[str, Any]


@contextmanager
def open_run(suite: Suite, out: Path, *, resume: bool, workers: int) -> Generator[RunInfo]:
    """Claim a run's folder while the run lasts; raises BadValue where it can't be had."""
    _check_folder(out)
    info = _describe(suite, workers)  # opens all data: what is missing shows before the run begins
    with _lock(out):
        if not (out / "run.json").is_file():
            write_json(out / "run.json", {"schema": SCHEMA, **asdict(info)})
        elif resume:
            now, info = info, read_run(out)
            _check_same(now, info, out)
        else:
            raise BadValue(
                f"{out} holds a run already. Go on with it by --resume, or choose another folder."
            )
        yield info


def read_run(out: Path) -> RunInfo:
    """Read run.json; raises DataUnavailable where there is none, BadData where it is not one."""
    path = out / "run.json"
    if not path.is_file():
        raise DataUnavailable(f"{out} holds no benchmark run: it has no run.json.")
    values = read_json(path)
    try:
        if values.pop("schema") != SCHEMA:
            raise BadData(f"{path} is of another schema; this version reads {SCHEMA}.")
        return RunInfo(**values)
    except (AttributeError, KeyError, TypeError) as error:
        raise BadData(f"{path}: not the description of a run ({error}).") from error


def _check_folder(out: Path) -> None:
    """See that a folder is new, a run's, or what a kill left before run.json was written."""
    try:
        names = [path.name for path in out.iterdir()]
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadValue(
            f"{out} can't be a run's folder: {error.strerror}. Choose another."
        ) from error
    others = [name for name in names if name != _LOCK and not name.endswith(".tmp")]
    if others and not (out / "run.json").is_file():
        raise BadValue(f"{out} is not empty and holds no run. Choose another folder.")


def _describe(suite: Suite, workers: int) -> RunInfo:
    return RunInfo(
        suite=asdict(suite),
        digest=suite.digest,
        base=identify_policy(Policy(suite.model)),
        data=_fingerprints(suite),
        versions=run_versions(),
        threads=max(1, (os.cpu_count() or 1) // workers),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        hardware=hardware(),
    )


def _fingerprints(suite: Suite) -> dict[str, dict[str, str]]:
    """Open the data of every task: the evaluated split, and those that stages learn from."""
    learned = {"train", "val"} if set(suite.strategies) - {VANILLA} else set[str]()
    return {
        task.name: {
            split: fingerprint_of(Task(task.env, task.kwargs), split)
            for split in sorted({task.evaluation.split} | learned)
        }
        for task in suite.tasks
    }


def _check_same(now: RunInfo, info: RunInfo, out: Path) -> None:
    """See that a run would go on as it was begun; raises BadValue, naming what has changed."""
    name = info.suite["name"]
    if info.digest != now.digest:
        raise BadValue(
            f"{out} belongs to suite {name!r} as it was then ({info.digest[:12]}), not to "
            f"{now.suite['name']!r} as it is now ({now.digest[:12]}). Choose another folder."
        )
    changed = changed_versions(info.versions, now.versions)
    if changed:
        raise BadValue(
            f"{out} was begun with other versions ({changed}), and results of different "
            "versions don't share a table. Go back to those versions, or choose another folder."
        )
    others = [
        f"the data of task {task!r}" for task in now.data if info.data.get(task) != now.data[task]
    ]
    if info.base != now.base:
        others.insert(0, f"the weights of model {now.suite['model']!r}")
    if others:
        raise BadValue(
            f"Since {out} was begun, {' and '.join(others)} changed, and results of both don't "
            "share a table. Bring back what was there, or choose another folder."
        )


@contextmanager
def _lock(out: Path) -> Generator[None]:
    """Hold the lock of a folder; the system lets go of it however the process ends."""
    path = out / _LOCK
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = _claim(path)
    except BlockingIOError as error:
        raise BadValue(
            f"{out} is in use by process {path.read_text('utf-8')}. Wait for it, or stop it and "
            "use --resume."
        ) from error
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        yield


def _claim(path: Path) -> FileIO:
    """Lock a file and write this process's id into it; raises OSError."""
    import fcntl  # not on Windows, where the other verbs work

    file = FileIO(path, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(str(os.getpid()).encode())
    except OSError:
        file.close()
        raise
    return file
