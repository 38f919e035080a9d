"""The folder of a run: which suite and versions it belongs to, and who is writing in it.

RUN/run.json                               suite, versions, threads; written first
RUN/run.lock                               the writing process, while there is one
RUN/stages/<identity>/                     one run of one stage, shared by strategies
RUN/cells/<task>/<strategy>/seed-<n>/      cell.json (written last), episodes.jsonl
RUN/results.json .csv .md, report.html, *.svg, *.png
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from progym.agents.identity import changed_versions, versions
from progym.agents.storage import cannot_write, read_json, write_json
from progym.benchmarks.provenance import commit, hardware
from progym.benchmarks.suite import Suite
from progym.envs.errors import BadValue, DataUnavailable

SCHEMA = 1


@dataclass(frozen=True)
class RunInfo:
    """What run.json says."""

    suite: Mapping[str, Any]
    digest: str
    versions: Mapping[str, str]
    threads: int
    """Threads a worker computes with. Sums depend on it, so a resumed run keeps it."""
    started: str
    commit: str
    hardware: Mapping[str, Any]


@contextmanager
def open_run(suite: Suite, out: Path, *, resume: bool, workers: int) -> Generator[RunInfo]:
    """Claim a run's folder while the run lasts; raises BadValue where it can't be had."""
    existing = out.exists() and any(out.iterdir())
    if existing and not (out / "run.json").is_file():
        raise BadValue(f"{out} is not empty and holds no run. Choose another folder.")
    if existing and not resume:
        raise BadValue(
            f"{out} holds a run already. Go on with it by --resume, or choose another folder."
        )
    with _lock(out):
        if existing:
            info = read_run(out)
            _check_same(suite, info, out)
        else:
            info = _new_info(suite, workers)
            write_json(out / "run.json", {"schema": SCHEMA, **asdict(info)})
        yield info


def read_run(out: Path) -> RunInfo:
    """Read run.json; raises DataUnavailable where there is none."""
    path = out / "run.json"
    if not path.is_file():
        raise DataUnavailable(f"{out} holds no benchmark run: it has no run.json.")
    values = read_json(path)
    if values.pop("schema", None) != SCHEMA:
        raise BadValue(f"{path} is of another schema; this version reads {SCHEMA}.")
    return RunInfo(**values)


def _new_info(suite: Suite, workers: int) -> RunInfo:
    return RunInfo(
        suite=asdict(suite),
        digest=suite.digest,
        versions=versions(),
        threads=max(1, (os.cpu_count() or 1) // workers),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        hardware=hardware(),
    )


def _check_same(suite: Suite, info: RunInfo, out: Path) -> None:
    if info.digest != suite.digest:
        raise BadValue(
            f"{out} belongs to suite {info.suite['name']!r} as it was then ({info.digest[:12]}), "
            f"not to {suite.name!r} as it is now ({suite.digest[:12]}). Choose another folder."
        )
    changed = changed_versions(info.versions, versions())
    if changed:
        raise BadValue(
            f"{out} was begun with other versions ({changed}), and results of different "
            "versions don't share a table. Go back to those versions, or choose another folder."
        )


@contextmanager
def _lock(out: Path) -> Generator[None]:
    path = out / "run.lock"
    me = {"pid": os.getpid(), "boot": _boot_id(), "born": _born(os.getpid())}
    if path.exists() and not _is_alive(path):
        path.unlink()
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError as error:
        raise BadValue(
            f"{out} is in use by process {_holder(path).get('pid')}. Wait for it, or stop it and "
            "use --resume."
        ) from error
    except OSError as error:
        raise cannot_write(path, error) from error
    with os.fdopen(descriptor, "w") as file:
        json.dump(me, file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _is_alive(path: Path) -> bool:
    """Whether the process that holds the lock still runs: same boot, same pid, same birth."""
    holder = _holder(path)
    pid = holder.get("pid")
    if not isinstance(pid, int) or holder.get("boot") != _boot_id():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs, under another user
    return holder.get("born") == _born(pid)


def _holder(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}  # torn by a crash: held by nobody


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text("utf-8").strip() if path.is_file() else ""


def _born(pid: int) -> str:
    """Give a process's start in clock ticks since boot, where the system tells; pids are reused."""
    path = Path(f"/proc/{pid}/stat")
    try:
        return path.read_text("utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""
