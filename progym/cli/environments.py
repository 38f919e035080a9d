"""`progym envs`: what there is to act in."""

from __future__ import annotations

import json
from typing import Any

import gymnasium
from rich.console import Console
from rich.table import Table

from progym.cli.arguments import AsJson
from progym.envs.catalog import IDS
from progym.envs.env import ProgramEnv


def list_environments(as_json: AsJson = False) -> None:
    """List the environments with their modules and the sizes of their embedded splits."""
    rows = [_describe(env_id) for env_id in IDS]
    if as_json:
        print(json.dumps(rows, indent=2))  # noqa: T201 - this is the result
        return
    table = Table("environment", "modules (inputs -> outputs)", "examples (embedded)")
    for row in rows:
        modules = "\n".join(
            f"{name}: {', '.join(m['inputs'])} -> {', '.join(m['outputs'])}"
            for name, m in row["modules"].items()
        )
        sizes = ", ".join(f"{split} {size}" for split, size in row["examples"].items())
        table.add_row(row["id"], modules, sizes)
    Console().print(table)


def _describe(env_id: str) -> dict[str, Any]:
    sizes: dict[str, int] = {}
    for split in ("train", "val", "test"):
        env = gymnasium.make(env_id, split=split).unwrapped
        assert isinstance(env, ProgramEnv)
        sizes[split] = len(env.examples)
        modules = env.program.modules
    return {
        "id": env_id,
        "modules": {
            module.name: {
                "instruction": module.instruction,
                "inputs": [field.name for field in module.inputs],
                "outputs": [field.name for field in module.outputs],
            }
            for module in modules
        },
        "examples": sizes,
    }
