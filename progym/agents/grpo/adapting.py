"""Which adapter a run trains for which module, and what each module started from.

The adapters a policy came with stay as they are: they answer for frozen modules, and they are the
reference of the KL term. What is trained are new ones that begin as their copies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from progym.agents.grpo.config import Lora
from progym.agents.grpo.trl_settings import check_adapter, lora_config
from progym.agents.models.adapters import (
    Base,
    adapter_weights,
    add_adapter,
    copy_adapter,
    save_adapter,
)
from progym.agents.models.transformers_lm import TransformersModel
from progym.agents.policy import Policy
from progym.agents.seeding import derive_seed
from progym.envs.errors import BadValue, unknown

_TRAINED = "trained"


@dataclass(frozen=True)
class Adapting:
    """Names of adapters of one model, by module; "" stands for every module that is not named."""

    trained: Mapping[str, str]
    started: Mapping[str, str | None]
    """None for the bare weights."""

    def trained_for(self, module: str) -> str:
        """Name the adapter that is trained for a module."""
        # A step without rows has one of no module, which any adapter will do for.
        return self.trained.get(module) or next(iter(self.trained.values()))

    def started_for(self, module: str) -> str | None:
        """Name the adapter that a module started from."""
        return self.started.get(module, self.started.get(""))

    def weights(self, model: Any) -> dict[str, torch.nn.Parameter]:
        """Find what is trained."""
        return adapter_weights(model, frozenset(self.trained.values()))


def prepare_adapters(
    lm: TransformersModel,
    lora: Lora,
    *,
    modules: Collection[str] | None,
    untrained: Set[str],
    seed: int,
) -> Adapting:
    """Put the adapters that are to be trained on a model, and have it answer with them.

    Args:
        lm: The model, with the adapters of its policy; changed in place.
        lora: What to train.
        modules: The program's modules, None where they are not known beforehand.
        untrained: Those that are frozen, or another model's.
        seed: Of the new adapters' first weights.

    Raises:
        UnknownName: A frozen module that the program does not have.
        BadValue: Adapters by module where modules are not known, or another split of adapters than
            the policy's.
    """
    if modules is None and (lora.per_module or lora.frozen):
        raise BadValue(
            "lora.per_module and lora.frozen need a program: other environments list no modules."
        )
    for name in lora.frozen:
        if name not in (modules or ()):
            raise unknown("module", name, modules or ())
    own = sorted(lm.adapters.keys() - untrained)
    if own and not lora.per_module:
        raise BadValue(
            f"The policy has adapters of their own for {', '.join(own)}: train it with "
            "lora.per_module, or freeze these modules."
        )
    learning = sorted(set(modules or ()) - untrained)
    if modules is not None and not learning:
        raise BadValue("Every module is frozen or another model's: there is nothing to train.")
    keys = learning if lora.per_module else [""]
    trained: dict[str, str] = {}
    started: dict[str, str | None] = {}
    for key in keys:
        started[key] = lm.adapters.get(key, lm.shared)
        trained[key] = f"{_TRAINED}_{key}" if key else _TRAINED
        _begin(lm, trained[key], started[key], lora, derive_seed(seed, "adapter", key))
    for name in lora.frozen:
        lm.adapters.setdefault(name, lm.shared)
    lm.adapters |= {key: name for key, name in trained.items() if key}
    lm.shared = trained.get("", lm.shared)
    adapting = Adapting(trained, started)
    lm.model.requires_grad_(False)
    for parameter in adapting.weights(lm.model).values():
        parameter.requires_grad_()
    return adapting


def _begin(lm: TransformersModel, name: str, source: str | None, lora: Lora, seed: int) -> None:
    if source is not None:
        check_adapter(lm.model, source, lora)
        copy_adapter(lm.model, source, name)
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        lm.model = add_adapter(lm.model, lora_config(lora), name)


def save_trained(
    lm: TransformersModel,
    adapting: Adapting,
    policy: Policy,
    folder: Path,
    *,
    modules: Collection[str] | None,
    frozen: Collection[str],
) -> Policy:
    """Write what was trained below a folder and give the policy that has it."""
    base = Base(lm.name, lm.fingerprint)
    model: PeftModel = lm.model
    shared = adapting.trained.get("")
    if shared is not None:
        place = folder / "adapter"
        save_adapter(model, place, base, shared)
        if not frozen:
            return replace(policy, adapter=place)
        # Frozen modules keep what they had, so the others name theirs.
        named = {name: place for name in modules or () if name not in frozen}
        return replace(policy, adapters={**policy.adapters, **named})
    places = {module: folder / "adapters" / module for module in adapting.trained}
    for module, place in places.items():
        save_adapter(model, place, base, adapting.trained[module])
    return replace(policy, adapters={**policy.adapters, **places})
