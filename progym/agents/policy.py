"""A policy: a prompt set and a language model, the model named by a spec and an optional adapter.

On disk a policy is a folder: `policy.json` (the spec), `prompts.json`, and `adapter/` in PEFT's
format (safetensors) where the weights were trained.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree

from progym.envs.errors import BadData, DataUnavailable
from progym.envs.prompts import PromptSet, load_prompts, save_prompts


@dataclass(frozen=True)
class Policy:
    """What acts in an environment: prompts, a model spec such as "tiny", and an adapter folder."""

    model: str = "tiny"
    prompts: PromptSet = field(default_factory=PromptSet)
    adapter: Path | None = None


def save_policy(policy: Policy, folder: Path) -> Policy:
    """Write a policy, adapter included, and give the policy that reads from `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_prompts(policy.prompts, folder / "prompts.json")
    adapter = None
    if policy.adapter is not None:
        adapter = folder / "adapter"
        if adapter.resolve() != policy.adapter.resolve():
            copytree(policy.adapter, adapter, dirs_exist_ok=True)
    values = {"model": policy.model, "adapter": "adapter" if adapter else None}
    (folder / "policy.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    return Policy(policy.model, policy.prompts, adapter)


def load_policy(folder: Path) -> Policy:
    """Read a policy; raises DataUnavailable where there is none, BadData where it is malformed."""
    path = folder / "policy.json"
    if not path.is_file():
        raise DataUnavailable(f"{folder} is not a policy folder: it has no policy.json.")
    try:
        values = json.loads(path.read_text("utf-8"))
        model, adapter = values["model"], values["adapter"]
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise BadData(
            f"{path}: expected a JSON object with 'model' and 'adapter' ({error})."
        ) from error
    prompts = load_prompts(folder / "prompts.json")
    return Policy(model, prompts, folder / adapter if adapter else None)
