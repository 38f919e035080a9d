"""What TRL and PEFT are told, and keeping their side effects to themselves."""

from __future__ import annotations

import random
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig
from trl.trainer.grpo_config import GRPOConfig as TrlConfig

from progym.agents.grpo.config import GrpoConfig
from progym.agents.seeding import derive_seed

_WARMUP_STEPS = 10
"""At most; a twentieth of a short run."""


def trl_config(config: GrpoConfig, folder: Path, seed: int, *, on_cpu: bool) -> TrlConfig:
    """Say it in TRL's words: one micro-batch a step, full precision, no files of its own."""
    with _without_deprecations():
        return TrlConfig(
            output_dir=str(folder / "trl"),
            max_steps=config.max_steps * config.num_iterations,
            per_device_train_batch_size=config.num_generations,
            num_generations=config.num_generations,
            num_iterations=config.num_iterations,
            learning_rate=config.learning_rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=min(_WARMUP_STEPS, config.max_steps * config.num_iterations // 20),
            max_grad_norm=config.max_grad_norm,
            beta=config.beta,
            epsilon=config.epsilon,
            loss_type=config.loss_type,
            scale_rewards=config.groups.scale_rewards,
            temperature=config.temperature,
            max_completion_length=config.max_completion_length,
            seed=derive_seed(seed, "trl") % 2**31,
            use_cpu=on_cpu,
            bf16=False,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )


def lora_config(config: GrpoConfig) -> LoraConfig:
    """Say it in PEFT's words."""
    lora = config.lora
    targets = lora.target_modules
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=lora.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )


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
