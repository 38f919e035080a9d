"""The language models that ship, by spec; each is imported only when it is loaded.

A spec is one of the names below, a model folder, `hub:<owner/name>[@revision]`, or
`http://host:port/v1#model` for an OpenAI-compatible server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progym.agents.model import LanguageModel
from progym.agents.policy import Policy
from progym.envs.errors import BadValue, DataUnavailable, MissingExtra, unknown

if TYPE_CHECKING:
    from progym.agents.models.transformers_lm import TransformersModel

_TINY = Path(__file__).parent.parent / "tiny" / "weights"


def load_model(policy: Policy | str) -> LanguageModel:
    """Load the model of a policy, adapter included, or the model of a spec.

    Raises:
        UnknownName: No such spec.
        BadValue: An adapter for a model whose weights are not here.
        BadData: A corrupt model, or an adapter that is corrupt or another model's.
        DataUnavailable: Weights that can't be reached.
        MissingExtra: A package that the model needs is not installed.
    """
    policy = Policy(policy) if isinstance(policy, str) else policy
    if policy.models:
        from progym.agents.models.routed import RoutedModel

        others = {module: load_model(spec) for module, spec in policy.models.items()}
        return RoutedModel(load_model(replace(policy, models={})), others)
    spec = policy.model
    if spec in _SCRIPTED or spec.startswith(("http://", "https://")):
        if policy.adapter is not None or policy.adapters:
            raise BadValue(f"The model {spec!r} takes no adapter: its weights are not here.")
        return _SCRIPTED[spec]() if spec in _SCRIPTED else _load_endpoint(spec)
    return _load_weights(policy)


def load_trainable(policy: Policy | str) -> TransformersModel:
    """Load a model whose adapter can be trained; raises as `load_model` does."""
    policy = Policy(policy) if isinstance(policy, str) else policy
    if policy.model in _SCRIPTED or policy.model.startswith(("http://", "https://")):
        raise BadValue(
            f"The model {policy.model!r} can't be trained: its weights are not here. Use one of: "
            f"{', '.join(_WEIGHTS)}, a model folder or hub:<name>."
        )
    return _load_weights(policy)


def _load_weights(policy: Policy) -> TransformersModel:
    spec = policy.model
    try:
        from progym.agents.models.loading import load_folder, load_hub
    except ImportError as error:
        raise MissingExtra(
            f"The model {spec!r} needs torch, transformers and peft ({error}). Install them with: "
            "pip install 'progym[train]'"
        ) from error
    adapters: Any = {"adapter": policy.adapter, "adapters": policy.adapters}
    if spec in _WEIGHTS:
        return load_folder(_WEIGHTS[spec](), name=spec, **adapters)
    if spec.startswith("hub:"):
        return load_hub(spec.removeprefix("hub:"), **adapters)
    folder = Path(spec).expanduser()
    if not folder.is_dir():
        raise unknown(
            "model",
            spec,
            (*_WEIGHTS, *_SCRIPTED, "hub:<owner/name>", "http://<host>/v1#<model>", "<folder>"),
        )
    return load_folder(folder, name=folder.resolve().name, **adapters)


def _load_endpoint(spec: str) -> LanguageModel:
    from progym.agents.models.endpoint_lm import EndpointModel

    return EndpointModel(spec)


def _gold() -> LanguageModel:
    from progym.agents.models.scripted import GoldModel

    return GoldModel()


def _garbage() -> LanguageModel:
    from progym.agents.models.scripted import GarbageModel

    return GarbageModel()


def _tiny() -> Path:
    if not (_TINY / "config.json").is_file():
        raise DataUnavailable(
            "The tiny LM's weights are not in this installation. Train them with `make tiny`."
        )
    return _TINY


def _smollm2() -> Path:
    from progym.agents.models.smollm2 import smollm2_folder

    return smollm2_folder()


_SCRIPTED: Mapping[str, Callable[[], LanguageModel]] = {"gold": _gold, "garbage": _garbage}
_WEIGHTS: Mapping[str, Callable[[], Path]] = {"tiny": _tiny, "smollm2": _smollm2}
