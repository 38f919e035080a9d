"""A policy: a prompt set and a language model, the model named by a spec and an optional adapter.

On disk a policy is a folder: `policy.json` (the spec), `prompts.json`, and `adapter/` in PEFT's
format (safetensors) where the weights were trained.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree, ignore_patterns

from progym.agents.storage import cannot_write, write_json
from progym.envs.errors import BadData, DataUnavailable
from progym.envs.prompts import PromptSet, load_prompts, save_prompts


@dataclass(frozen=True)
class Policy:
    """What acts in an environment: prompts, a model spec such as "tiny", and an adapter folder."""

    model: str = "tiny"
    prompts: PromptSet = field(default_factory=PromptSet)
    adapter: Path | None = None


def save_policy(policy: Policy, folder: Path) -> Policy:
    """Write a policy, adapter included, and give the policy that reads from `folder`.

    Raises RecordingFailed.
    """
    adapter = folder / "adapter" if policy.adapter is not None else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_prompts(policy.prompts, folder / "prompts.json")
        if adapter and policy.adapter and adapter.resolve() != policy.adapter.resolve():
            # A kill may have left a half-written file.
            copytree(policy.adapter, adapter, dirs_exist_ok=True, ignore=ignore_patterns("*.tmp"))
    except OSError as error:
        raise cannot_write(folder, error) from error
    values = {"model": policy.model, "adapter": "adapter" if adapter else None}
    write_json(folder / "policy.json", values)
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
