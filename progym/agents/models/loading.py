"""Loading models of transformers; what was loaded is kept, what is given out shares its weights.

Every call gives modules of its own over shared weights, so that an adapter never shows in another
policy. Hence train adapters, never the weights themselves.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from progym.agents.models.adapters import (
    Base,
    fingerprint_weights,
    load_adapter,
    own_adapter,
    share_weights,
)
from progym.agents.models.transformers_lm import TransformersModel
from progym.envs.errors import BadData, DataUnavailable

_tokenizers: Any = AutoTokenizer  # from_pretrained is not typed


@dataclass(frozen=True)
class _Loaded:
    model: Any
    tokenizer: Any
    base: Base


def load_folder(
    folder: Path,
    *,
    name: str,
    adapter: Path | None = None,
    adapters: Mapping[str, Path] | None = None,
) -> TransformersModel:
    """Load a model and its tokenizer from a folder; raises DataUnavailable or BadData."""
    config = folder / "config.json"
    if not config.is_file():
        raise DataUnavailable(f"{folder} is not a model folder: it has no config.json.")
    changed = max(file.stat().st_mtime_ns for file in folder.iterdir())
    return _give_out(_load(str(folder.resolve()), name, "", changed), adapter, adapters or {})


def load_hub(
    repository: str, *, adapter: Path | None = None, adapters: Mapping[str, Path] | None = None
) -> TransformersModel:
    """Load `owner/name` or `owner/name@revision` from the Hugging Face hub or its local cache."""
    path, _, revision = repository.partition("@")
    loaded = _load(path, f"hub:{repository}", revision or "main", 0)
    return _give_out(loaded, adapter, adapters or {})


def _give_out(
    loaded: _Loaded, adapter: Path | None, adapters: Mapping[str, Path]
) -> TransformersModel:
    model = share_weights(loaded.model)
    if adapter is not None:
        model = load_adapter(model, adapter, loaded.base)
    names = {module: own_adapter(module) for module in adapters}
    for module, folder in adapters.items():
        model = load_adapter(model, folder, loaded.base, names[module])
    return TransformersModel(
        model,
        loaded.tokenizer,
        name=loaded.base.name,
        fingerprint=loaded.base.fingerprint,
        adapters=names,
    )


@lru_cache(maxsize=2)
def _load(path: str, name: str, revision: str, changed: int) -> _Loaded:  # noqa: ARG001 - a key
    """Load weights; `revision` is empty for a folder, which is read again once it has `changed`."""
    on_gpu = torch.cuda.is_available()
    options: dict[str, Any] = {"revision": revision} if revision else {"local_files_only": True}
    try:
        with _without_progress_bar():
            tokenizer: Any = _tokenizers.from_pretrained(path, **options)
            model: Any = AutoModelForCausalLM.from_pretrained(
                path, dtype=torch.bfloat16 if on_gpu else torch.float32, **options
            )
    except (OSError, ValueError, SafetensorError, RuntimeError, KeyError) as error:
        if revision:
            raise DataUnavailable(
                f"Can't load {path!r} (revision {revision!r}) from the Hugging Face hub: {error} "
                "Check the name and the network, or download the model and give its folder."
            ) from error
        raise BadData(f"{path}: can't be read as a causal language model ({error}).") from error
    model = model.to("cuda" if on_gpu else "cpu").eval()
    return _Loaded(model, tokenizer, Base(name, fingerprint_weights(model)))


@contextmanager
def _without_progress_bar() -> Generator[None]:
    """Keep the bar over a model's few tensors from flickering through a table or another bar."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
