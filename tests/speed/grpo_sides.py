"""The two sides of a bench: our rollouts and update, and those of TRL's plain GRPOTrainer.

Both work on the same weights with equal adapters, in float32, and do the same: no completion ends
before its last token, and an update goes backward, clips, and takes a step of AdamW.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from grpo_workload import NEW_TOKENS, RUNS, Prompts
from trl.trainer.grpo_config import GRPOConfig as TrlConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from progym.agents.grpo.adapting import Adapting
from progym.agents.grpo.batch import Row, make_batch, to_tensors
from progym.agents.grpo.config import GrpoConfig, Lora
from progym.agents.grpo.trainer import GroupTrainer
from progym.agents.grpo.trl_settings import lora_config, trl_config
from progym.agents.model import GenerationRequest, Sampling
from progym.agents.models import load_trainable
from progym.agents.models.adapters import SHARED, adapter_weights, add_adapter
from progym.agents.models.transformers_lm import TransformersModel

Written = dict[str, list[tuple[list[int], list[int]]]]
"""By module, the prompt ids and the completion ids of each call."""

MICRO_BATCH = 2
"""Rows that TRL scores at once: its fastest of 1, 2, 4, 6 and 12, with the tiny LM on a CPU."""

AT_ONCE, LONG, LONG_AT_ONCE = 24, 400, 12
"""Prompts TRL completes at once, and those of 400 tokens or more: its fastest of 12, 24, 48."""

CONFIG = GrpoConfig(
    num_generations=RUNS,
    beta=0.0,  # as TRL has it by default; else both would score with the reference, too
    temperature=1.0,
    max_completion_length=NEW_TOKENS,
    learning_rate=1e-6,  # so that rounds stay comparable
)


def load_policy(spec: str) -> TransformersModel:
    """Load a model with an adapter that is not all zeros, the same one every time."""
    lm = load_trainable(spec)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = add_adapter(lm.model, lora_config(Lora()))
        for name, weight in adapter_weights(model, {SHARED}).items():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02)
    return TransformersModel(model, lm.tokenizer, name=lm.name, fingerprint=lm.fingerprint)


class _Side:
    """What an update is on both sides, once the gradients are there."""

    trainer: Any

    def step(self) -> float:
        """Clip and move the weights; gives the gradient's norm before that."""
        trainer = self.trainer
        norm = trainer.accelerator.clip_grad_norm_(
            trainer.model.parameters(), trainer.args.max_grad_norm
        )
        trainer.optimizer.step()
        trainer.model.zero_grad()
        return float(norm)

    def gradients(self) -> torch.Tensor:
        """Give all gradients in one row."""
        weights = [p for p in self.trainer.model.parameters() if p.grad is not None]
        return torch.cat([weight.grad.flatten() for weight in weights])


class Ours(_Side):
    """Our sampler, and the step of our trainer, packed."""

    def __init__(self, spec: str, folder: Path) -> None:
        self.lm = load_policy(spec)
        self.lm.eos_ids = frozenset()
        self._rows: Sequence[Row] = ()
        self.trainer = GroupTrainer(
            self.lm.model,
            trl_config(CONFIG, folder, 0, on_cpu=True),
            make_batch=lambda step: make_batch(self._rows, beta=0.0),
            tokenizer=self.lm.tokenizer,
            adapting=Adapting({"": SHARED}, {"": None}),
        )
        self.trainer.current_gradient_accumulation_steps = 1
        self.trainer.create_optimizer()

    def write(
        self, prompts: Prompts, *, temperature: float = 1.0, most: int = NEW_TOKENS
    ) -> Written:
        """Sample a completion for every prompt."""
        written: Written = {}
        with self.lm.standing():
            for module, calls in prompts.items():
                requests = [
                    GenerationRequest(call, seed, module) for seed, call in enumerate(calls)
                ]
                found = self.lm.generate(requests, Sampling(temperature, most))
                written[module] = [(list(one.prompt_ids), list(one.token_ids)) for one in found]
        return written

    def backward(self, rows: Sequence[Row]) -> float:
        """Compute the gradients of a step; gives the loss."""
        self._rows = rows
        tensors = self.trainer._generate_and_score_completions([])
        loss = self.trainer.compute_loss(self.trainer.model, tensors)
        self.trainer.accelerator.backward(loss)
        return loss.item()


class Theirs(_Side):
    """TRL's trainer as it comes, without vLLM, in micro-batches of `size` rows of one module."""

    def __init__(self, spec: str, folder: Path, size: int = MICRO_BATCH) -> None:
        self.lm = load_policy(spec)
        self._size = size
        self.trainer: Any = GRPOTrainer(
            self.lm.model,
            lambda completions, **_: [0.0] * len(completions),
            _plain_settings(folder, size, self.lm.model.config.vocab_size),
            Dataset.from_dict({"prompt": [""] * size * RUNS}),
            processing_class=self.lm.tokenizer,
        )
        self.trainer.eos_token_ids = [self.lm.model.config.vocab_size]
        self.trainer.create_optimizer()

    def write(
        self, prompts: Prompts, *, temperature: float = 1.0, most: int = NEW_TOKENS
    ) -> Written:
        """Sample a completion for every prompt."""
        values = {"do_sample": temperature > 0, "max_new_tokens": most}
        self.trainer.generation_config.update(**values)
        self.trainer.generation_kwargs.update(values)
        written: Written = {}
        for module, calls in prompts.items():
            count = LONG_AT_ONCE if len(self.lm.encode(calls[0])) >= LONG else AT_ONCE
            written[module] = []
            for start in range(0, len(calls), count):
                found = self.trainer._generate([list(c) for c in calls[start : start + count]])
                written[module] += zip(found[0], found[1], strict=True)
        return written

    def backward(self, rows: Sequence[Row]) -> float:
        """Compute the gradients of a step; gives the loss."""
        trainer, total = self.trainer, 0.0
        parts = list(self._micro_batches(rows))
        trainer.current_gradient_accumulation_steps = len(parts)
        for part in parts:
            loss = trainer.compute_loss(trainer.model, part)
            trainer.accelerator.backward(loss)
            total += loss.item()
        return total

    def _micro_batches(self, rows: Sequence[Row]) -> Any:
        """Pad each module's rows no further than needed, as if it were trained alone."""
        pad_id: int = self.lm.tokenizer.pad_token_id
        for step_type, group in groupby(rows, key=lambda row: row.step_type):
            mine = tuple(group)
            batch = make_batch(mine, beta=0.0)
            tensors: dict[str, Any] = {**to_tensors(batch, [step_type], pad_id)}
            yield from split_tensor_dict(tensors, max(1, len(mine) // self._size))


def _plain_settings(folder: Path, size: int, never: int) -> TrlConfig:
    """Set what both sides share, and turn off what would slow TRL down; `never` ends a completion.

    That is an id that no token has, so nothing ends one.
    """
    return TrlConfig(
        output_dir=str(folder),
        max_steps=1,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=RUNS,
        num_generations=RUNS,
        max_completion_length=NEW_TOKENS,
        temperature=CONFIG.temperature,
        beta=CONFIG.beta,
        epsilon=CONFIG.epsilon,
        loss_type=CONFIG.loss_type,
        learning_rate=CONFIG.learning_rate,
        max_grad_norm=CONFIG.max_grad_norm,
        generation_kwargs={"eos_token_id": never},
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
