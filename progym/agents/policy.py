"""A policy: a prompt set and a language model, the model named by a spec and an optional adapter.

On disk a policy is a folder: `policy.json` (the spec), `prompts.json`, and where the weights were
trained `adapter/` or, for modules with one of their own, `adapters/<module>/`, in PEFT's format
(safetensors).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import copytree, ignore_patterns

from progym.agents.storage import cannot_write, read_json, write_json
from progym.envs.errors import BadData, DataUnavailable
from progym.envs.prompts import PromptSet, load_prompts, save_prompts


@dataclass(frozen=True)
class Policy:
    """What acts in an environment: prompts, a model spec such as "tiny", and an adapter folder."""

    model: str = "tiny"
    prompts: PromptSet = field(default_factory=PromptSet)
    adapter: Path | None = None
    adapters: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """By module, in the place of `adapter`."""
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    """By module, the spec of another model that answers its calls, as it is."""


def save_policy(policy: Policy, folder: Path) -> Policy:
    """Write a policy, adapters included, and give the policy that reads from `folder`.

    Raises RecordingFailed.
    """
    adapter = folder / "adapter" if policy.adapter is not None else None
    adapters = {module: folder / "adapters" / module for module in policy.adapters}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_prompts(policy.prompts, folder / "prompts.json")
        if adapter and policy.adapter:
            _copy(policy.adapter, adapter)
        for module, place in adapters.items():
            _copy(policy.adapters[module], place)
    except OSError as error:
        raise cannot_write(folder, error) from error
    values = {
        "model": policy.model,
        "adapter": "adapter" if adapter else None,
        "adapters": {module: f"adapters/{module}" for module in adapters},
        "models": dict(policy.models),
    }
    write_json(folder / "policy.json", values)
    return replace(policy, adapter=adapter, adapters=adapters)


def _copy(adapter: Path, place: Path) -> None:
    if adapter.resolve() != place.resolve():
        # A kill may have left a half-written file.
        copytree(adapter, place, dirs_exist_ok=True, ignore=ignore_patterns("*.tmp"))


def load_policy(folder: Path) -> Policy:
    """Read a policy; raises DataUnavailable where there is none, BadData where it is malformed."""
    path = folder / "policy.json"
    if not path.is_file():
        raise DataUnavailable(f"{folder} is not a policy folder: it has no policy.json.")
    values = read_json(path)
    try:
        model, adapter = values["model"], values["adapter"]
        adapters = {module: folder / place for module, place in values["adapters"].items()}
        models = dict(values["models"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadData(
            f"{path}: expected a JSON object with 'model', 'adapter', 'adapters' and 'models' "
            f"({error})."
        ) from error
    prompts = load_prompts(folder / "prompts.json")
    return Policy(model, prompts, folder / adapter if adapter else None, adapters, models)
