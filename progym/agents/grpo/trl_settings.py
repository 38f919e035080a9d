"""What TRL and PEFT are told, and keeping their side effects to themselves."""

from __future__ import annotations

import random
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)
from trl.trainer.grpo_config import GRPOConfig as TrlConfig

from progym.agents.grpo.config import GrpoConfig, Lora
from progym.agents.seeding import derive_seed
from progym.envs.errors import BadValue, MissingExtra, unknown

_WARMUP_STEPS = 10
"""At most; a twentieth of a short run."""
_CISPO_CLAMP = 5.0
"""The largest ratio of cispo, whose TRL name is epsilon_high; other losses take 1 + epsilon."""


def trl_config(
    config: GrpoConfig, folder: Path, seed: int, *, on_cpu: bool, done: int = 0
) -> TrlConfig:
    """Say it in TRL's words: one micro-batch a step, full precision, no files of its own.

    A run of which some steps are `done` is one of the steps that are left.
    """
    with _without_deprecations():
        return TrlConfig(
            output_dir=str(folder / "trl"),
            max_steps=max(config.max_steps - done, 1) * config.num_iterations,
            per_device_train_batch_size=config.num_generations,
            num_generations=config.num_generations,
            num_iterations=config.num_iterations,
            learning_rate=config.learning_rate,
            warmup_steps=min(_WARMUP_STEPS, config.max_steps * config.num_iterations // 20),
            max_grad_norm=config.max_grad_norm,
            beta=config.beta,
            epsilon=config.epsilon,
            epsilon_high=_CISPO_CLAMP if config.loss_type == "cispo" else None,
            loss_type=config.loss_type,
            scale_rewards=config.groups.scale_rewards,
            temperature=config.temperature,
            max_completion_length=config.max_completion_length,
            seed=derive_seed(seed, "trl") % 2**31,
            use_cpu=on_cpu,
            # Given where there is no group of processes, it fails.
            ddp_backend="gloo" if on_cpu and torch.distributed.is_initialized() else None,
            bf16=False,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to=_check_reporters(config.watch.report_to),
            run_name=str(folder),
            disable_tqdm=True,
        )


def _check_reporters(names: Sequence[str]) -> list[str]:
    """Refuse what TRL can't report to, before there is anything to report."""
    available = cast("Any", get_available_reporting_integrations)()
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise unknown("watch.report_to", name, INTEGRATION_TO_CALLBACK)
        if name not in available:
            raise MissingExtra(
                f"watch.report_to has {name!r}, whose package is not installed. Install it, or "
                "leave it out: metrics.jsonl holds the same values."
            )
    return list(names)


def lora_config(lora: Lora) -> LoraConfig:
    """Say it in PEFT's words."""
    targets = lora.target_modules
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=lora.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )


def check_adapter(model: PeftModel, name: str, lora: Lora) -> None:
    """Refuse settings that the adapter a run goes on with has not; it keeps its own."""
    found: Any = model.peft_config[name]
    if not isinstance(found, LoraConfig):
        raise BadValue(
            f"mmgrpo trains LoRA adapters; the policy's is of type {found.peft_type.value}. Start "
            "from a policy without an adapter."
        )
    targets = found.target_modules or ()
    if lora.target_modules == "all-linear":
        same = _adapts_all_linear(model, name)
    else:
        same = set(targets) == set(lora.target_modules)
    wrong = [n for n in ("r", "lora_alpha", "lora_dropout") if vars(found)[n] != vars(lora)[n]]
    wrong += [] if same else ["target_modules"]
    if wrong:
        theirs, asked = (
            ", ".join(f"{name}={vars(config)[name]}" for name in wrong) for config in (found, lora)
        )
        raise BadValue(
            f"The policy's adapter has {theirs}, the config's lora {asked}. An adapter is trained "
            "as it is: put its values in lora, or start from a policy without an adapter."
        )


def _adapts_all_linear(model: PeftModel, name: str) -> bool:
    """Whether no linear layer but the head is without the adapter."""
    base: Any = model.get_base_model()
    layers: list[Any] = [layer for layer in base.modules() if isinstance(layer, BaseTunerLayer)]
    adapted = (layer for layer in layers if name in layer.lora_A)
    known = {id(part) for layer in adapted for part in layer.modules()}
    known.add(id(base.get_output_embeddings()))
    linear = (part for part in base.modules() if isinstance(part, torch.nn.Linear))
    return all(id(part) in known for part in linear)


@contextmanager
def own_generators() -> Generator[None]:
    """Leave the process's global generators as they were: TRL seeds and uses them."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(), _without_deprecations():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _without_deprecations() -> Generator[None]:
    """Silence the names that transformers deprecates while trl and peft still use them."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*gradient_checkpointing", category=FutureWarning
        )
        yield
