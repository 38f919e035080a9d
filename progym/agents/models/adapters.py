"""Adapters on disk: PEFT's format plus `base.json`, which names the weights they were trained on.

Reading checks everything before a weight is touched; writing gives equal bytes for equal adapters
and keeps this machine's paths out of them.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Generator, Mapping, Set
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.utils.save_and_load import (
    get_peft_model_state_dict,  # pyright: ignore[reportUnknownVariableType]
    set_peft_model_state_dict,  # pyright: ignore[reportUnknownVariableType]
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from progym.agents.storage import read_json, write_atomic, write_json
from progym.envs.errors import BadData, BadValue, DataUnavailable

_CONFIG, _WEIGHTS, _BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
_SAMPLE = 64
SHARED = "default"
"""PEFT's name for the adapter of all modules that have none of their own."""
_open: Any = safe_open
_configs: Any = PeftConfig  # from_pretrained is typed in part


@dataclass(frozen=True)
class Base:
    """The weights below an adapter: the spec they were loaded by, and a hash of them."""

    name: str
    fingerprint: str


def fingerprint_weights(model: Any) -> str:
    """Hash the names, the shapes and a sample of the values of all weights.

    Values in bfloat16, which GPUs load, so that a model has one fingerprint on any machine.
    """
    total = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        flat = weight.detach().flatten()
        sample = flat[:: max(1, len(flat) // _SAMPLE)].to(torch.bfloat16).float().cpu().numpy()
        total.update(f"{name} {tuple(weight.shape)}".encode() + sample.tobytes())
    return total.hexdigest()[:16]


def share_weights(model: Any) -> Any:
    """Copy a model's modules but not its weights; an adapter put on one is not on the other."""
    tensors = [*model.parameters(), *model.buffers()]
    return deepcopy(model, {id(tensor): tensor for tensor in tensors})


def own_adapter(module: str) -> str:
    """Name the adapter that a module has for itself."""
    return f"module_{module}"


def add_adapter(model: Any, config: PeftConfig, name: str = SHARED) -> PeftModel:
    """Put a new adapter on a model's modules, in place, beside those that it has."""
    with warnings.catch_warnings():
        # PEFT reads a property that transformers is about to rename; nothing a user can act on.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
        if isinstance(model, PeftModel):
            model.add_adapter(name, config)
            return model
        adapted = get_peft_model(model, config, adapter_name=name)
    assert isinstance(adapted, PeftModel)
    return adapted


def copy_adapter(model: PeftModel, source: str, name: str) -> None:
    """Put a second copy of an adapter on a model."""
    with torch.random.fork_rng():  # PEFT draws what is overwritten below
        add_adapter(model, deepcopy(model.peft_config[source]), name)
    state = get_peft_model_state_dict(model, adapter_name=source, save_embedding_layers=False)
    set_peft_model_state_dict(model, state, adapter_name=name)


def adapter_weights(model: Any, names: Set[str]) -> dict[str, torch.nn.Parameter]:
    """Find the parameters of some adapters, by their full names."""
    return {
        full: parameter
        for full, parameter in model.named_parameters()
        if not names.isdisjoint(full.split("."))
    }


@contextmanager
def adapter_in_use(model: Any, name: str | None) -> Generator[None]:
    """Compute with one adapter of a model, or with None without any."""
    if not isinstance(model, PeftModel):
        yield
        return
    if name is None:
        with model.disable_adapter():
            yield
        return
    before = cast("str", model.active_adapter)  # one at a time is all that is used here
    if before == name:
        yield
        return
    model.set_adapter(name)
    try:
        yield
    finally:
        model.set_adapter(before)


def save_adapter(model: Any, folder: Path, base: Base, name: str = SHARED) -> None:
    """Write an adapter of a PEFT model; the folder then serves as `Policy.adapter`."""
    if not isinstance(model, PeftModel):
        raise BadValue(f"The model has no adapter to save: it is a plain {type(model).__name__}.")
    values: dict[str, Any] = _settings(model.peft_config[name])
    values |= {"base_model_name_or_path": base.name, "inference_mode": True}
    found = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in found.items()}
    write_atomic(folder / _WEIGHTS, save(state, {"format": "pt"}))
    write_json(folder / _BASE, {"name": base.name, "fingerprint": base.fingerprint})
    # Last, so that a folder with a configuration is whole.
    write_atomic(folder / _CONFIG, json.dumps(values, indent=2, sort_keys=True) + "\n")


def load_adapter(model: Any, folder: Path, base: Base, name: str = SHARED) -> PeftModel:
    """Put a saved adapter on a model, ready to sample and to train on.

    Raises:
        DataUnavailable: The folder or one of its files is missing.
        BadData: A file is corrupt, or the adapter belongs to another base model.
    """
    for file in (_CONFIG, _WEIGHTS):
        if not (folder / file).is_file():
            raise DataUnavailable(f"{folder} is not an adapter folder: it has no {file}.")
    config = _read_config(folder)
    _check_base(folder, config, model, base)
    state = _read_weights(folder / _WEIGHTS)
    config.inference_mode = False
    config.base_model_name_or_path = model.name_or_path or None
    try:
        with torch.random.fork_rng():  # PEFT draws what is overwritten below
            adapted = add_adapter(model, config, name)
    except (ValueError, KeyError, TypeError) as error:
        raise BadData(f"{folder / _CONFIG}: does not fit {base.name} ({error}).") from error
    wanted = get_peft_model_state_dict(adapted, adapter_name=name)
    _check_shapes(folder / _WEIGHTS, wanted, state, base)
    set_peft_model_state_dict(adapted, state, adapter_name=name)
    return adapted.eval()


def _read_config(folder: Path) -> PeftConfig:
    path = folder / _CONFIG
    read_json(path)  # PEFT would not name the file
    try:
        return _configs.from_pretrained(str(folder))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadData(f"{path}: not an adapter configuration of PEFT ({error!r}).") from error


def _check_base(folder: Path, config: PeftConfig, model: Any, base: Base) -> None:
    path = folder / _BASE
    if not path.is_file():  # written by PEFT itself
        named = config.base_model_name_or_path
        if named in (None, base.name, base.name.removeprefix("hub:"), model.name_or_path):
            return
        raise BadData(f"{folder / _CONFIG}: trained on {named!r}, not on {base.name!r}.")
    values = read_json(path)
    if not isinstance(values, Mapping) or not {"name", "fingerprint"} <= values.keys():
        raise BadData(f"{path}: expected a JSON object with 'name' and 'fingerprint'.")
    if values["fingerprint"] != base.fingerprint:
        raise BadData(
            f"{path}: the adapter was trained on {values['name']!r} with weights "
            f"{values['fingerprint']}, not on {base.name!r} with weights {base.fingerprint}. Name "
            "the model it belongs to, or train it again."
        )


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        with _open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise BadData(f"{path}: corrupt, can't be read as safetensors ({error}).") from error


def _check_shapes(
    path: Path,
    wanted: Mapping[str, torch.Tensor],
    found: Mapping[str, torch.Tensor],
    base: Base,
) -> None:
    for name in sorted(wanted.keys() ^ found.keys()):
        says = "lacks" if name in wanted else "has, as the model has not,"
        raise BadData(f"{path}: {says} the tensor {name!r}; it does not fit {base.name}.")
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            raise BadData(
                f"{path}: {name!r} has shape {tuple(tensor.shape)}, {base.name} needs "
                f"{tuple(wanted[name].shape)}."
            )
        if not bool(tensor.isfinite().all()):
            raise BadData(f"{path}: {name!r} holds values that are not finite numbers.")


def _settings(config: Any) -> dict[str, Any]:
    values: dict[str, Any] = config.to_dict()
    for name, value in values.items():
        if isinstance(value, set):  # its order changes from process to process
            values[name] = sorted(value)  # pyright: ignore[reportUnknownArgumentType]
    return values
