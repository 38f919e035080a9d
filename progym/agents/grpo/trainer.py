"""TRL's GRPOTrainer with our groups in: its losses, reference model, optimizer and logging stay.

TRL asks once a step for completions; here that runs episodes and gives rows of any number instead.
A step is one micro-batch to TRL, so its losses need no correction for splitting; memory is bounded
where packed rows are scored, while padded ones all go through the model at once. Importing this
takes seconds (TRL).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from datasets import Dataset
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig as TrlConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from progym.agents.grpo.adapting import Adapting
from progym.agents.grpo.batch import Batch, Tensors, split_by_module, to_tensors
from progym.agents.grpo.config import LossType
from progym.agents.grpo.gradients import diverged, norm_of_change
from progym.agents.grpo.scoring import can_pack, score_rows
from progym.agents.grpo.token_metrics import TokenSums, clip_limits, measure_tokens, pool_logged
from progym.agents.models.adapters import adapter_in_use
from progym.envs.module import StepType

logger = logging.getLogger(__name__)

MakeBatch = Callable[[int], Batch]
"""Runs the episodes of a step, counted from 0, with the current weights, and gives its rows."""


class GroupTrainer(GRPOTrainer):
    """Trains on the rows that `make_batch` gives, one optimizer step (or num_iterations) on each.

    Args:
        model: A PEFT model around a causal LM; `make_batch` samples from the same object.
        args: TRL's own configuration, with gradient_accumulation_steps 1.
        make_batch: Called in eval mode.
        tokenizer: For its pad id.
        adapting: Which of the model's adapters are trained, and what they started from.
        callbacks: TRL's callbacks.
        first_step: The step that `args` begins with, of a run that goes on.
        max_loss: A loss beyond it raises TrainingDiverged.
    """

    def __init__(
        self,
        model: Any,
        args: TrlConfig,
        *,
        make_batch: MakeBatch,
        tokenizer: Any,
        adapting: Adapting,
        callbacks: Sequence[TrainerCallback] = (),
        first_step: int = 0,
        max_loss: float = math.inf,
    ) -> None:
        rows = Dataset.from_dict(
            {"prompt": [""] * args.max_steps * (args.generation_batch_size or 1)}
        )
        beta, args.beta = args.beta, 0.0  # else TRL makes a reference model of its own
        super().__init__(
            model=model,
            reward_funcs=_no_reward,
            args=args,
            train_dataset=rows,  # TRL wants enough of them; nothing reads them
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        self.remove_callback(PrinterCallback)
        self.beta = args.beta = beta
        self._adapting = adapting
        self._weights = list(adapting.weights(self.model).values())
        self.step_types: list[StepType] = []
        self.token_sums: dict[int, TokenSums] = {}
        self.grad_norms: dict[str, float] = {}
        self._make_batch, self._first_step, self._max_loss = make_batch, first_step, max_loss
        self._batch = Batch((), 0, 0)
        self._scores: tuple[torch.Tensor, torch.Tensor] | None = None
        self._policy = cast("Any", self.model)
        self._pad_id: int = tokenizer.pad_token_id
        self._packs = can_pack(self._policy, self._policy.config)
        if not self._packs:
            logger.warning(
                "%s can't be packed as trees: rows are padded, which is slower.",
                type(self._policy.get_base_model()).__name__,
            )

    @property
    def _current_step(self) -> int:
        return self._first_step + self.state.global_step // self.num_iterations

    def _send_telemetry(self) -> None:
        """Send nothing."""

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LambdaLR:
        """Warm up to a constant rate; unlike TRL's schedules, the first update has one above 0."""
        warm = self.args.get_warmup_steps(num_training_steps)
        given = cast("torch.optim.Optimizer", optimizer or self.optimizer)
        done = self._first_step * self.num_iterations
        self.lr_scheduler = LambdaLR(given, lambda step: min(1.0, (done + step + 1) / (warm + 1)))
        return self.lr_scheduler

    def _generate_and_score_completions(self, inputs: list[Any]) -> Tensors:  # noqa: ARG002
        self._policy.eval()
        batch = self._batch = self._make_batch(self._current_step)
        self._policy.train()
        adapting = self._adapting
        new = sorted({row.step_type for row in batch.rows} - set(self.step_types))
        self.step_types.extend(new)
        tensors = to_tensors(batch, self.step_types, self._pad_id)
        tensors = {name: values.to(self.accelerator.device) for name, values in tensors.items()}
        with torch.no_grad():
            if self.num_iterations > 1:
                tensors["old_per_token_logps"] = self._logprobs(tensors, adapting.trained_for)
            if self.beta:
                tensors["ref_per_token_logps"] = self._logprobs(tensors, adapting.started_for)
        return tensors

    def _logprobs(self, tensors: Tensors, adapter_for: Callable[[str], str | None]) -> torch.Tensor:
        """Score all rows, each module's with its adapter; (B, C)."""
        found = torch.zeros(tensors["completion_ids"].shape, device=tensors["prompt_ids"].device)
        for module, rows, part in split_by_module(tensors, self.step_types):
            ids = torch.cat([part["prompt_ids"], part["completion_ids"]], dim=1)
            mask = torch.cat([part["prompt_mask"], part["completion_mask"]], dim=1)
            width = part["completion_ids"].size(1)
            with adapter_in_use(self._policy, adapter_for(module)):
                scored = self._get_per_token_logps_and_entropies(self._policy, ids, mask, width)
            found = found.to(scored[0].dtype)
            found[rows, :width] = scored[0]
        return found

    def _go_backward(self, loss: torch.Tensor) -> None:
        if not abs(loss.item()) <= self._max_loss:  # nor NaN
            raise diverged("The loss", loss.item(), self._current_step)
        cast("Any", self).accelerator.backward(loss)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        if not attention_mask[:, -logits_to_keep:].any():
            blank = torch.zeros(len(input_ids), logits_to_keep, device=input_ids.device)
            # Joined to the weights, so that a step without rows has gradients: zeros, like TRL.
            idle = sum(p.sum() for p in self._weights)
            return blank + 0.0 * idle, blank, None
        if not self._packs:
            padded = cast("Any", super()._get_per_token_logps_and_entropies)
            found = padded(model, input_ids, attention_mask, logits_to_keep, **kwargs)
            self._scores = (found[0], found[1]) if found[1] is not None else None
            return found
        rows = _unpad(input_ids, attention_mask, input_ids.size(1) - logits_to_keep)
        with self.accelerator.autocast():
            scores = score_rows(
                model,
                rows,
                width=logits_to_keep,
                temperature=self.temperature,
                config=self._policy.config,
            )
        self._scores = (scores.logprobs, scores.entropies)
        return scores.logprobs, scores.entropies, None

    def _compute_loss(self, model: Any, inputs: Tensors) -> torch.Tensor:
        """Go backward module by module, so that each one's gradient is known; gives the sum.

        What is returned has a gradient of zeros: TRL's own backward pass adds nothing.
        """
        limits = clip_limits(self.epsilon_low, self.epsilon_high, self.loss_type)
        logged = cast("dict[str, list[float]]", cast("Any", self)._metrics["train"])
        before_all = {name: len(values) for name, values in logged.items()}
        self.token_sums, self.grad_norms = {}, {}
        total, tokens = torch.zeros((), device=inputs["advantages"].device), list[float]()
        for module, _, part in split_by_module(inputs, self.step_types):
            mask = part["completion_mask"]
            tokens.append(mask.sum().item())
            rows = len(mask) if tokens[-1] else 0
            scale = self._batch.loss_scale(cast("LossType", self.loss_type), rows, int(tokens[-1]))
            self._scores = None
            for parameter in self._weights:  # switching adapters freezes those that are not in use
                parameter.requires_grad_()
            grads = [None if p.grad is None else p.grad.clone() for p in self._weights]
            with adapter_in_use(self._policy, self._adapting.trained_for(module)):
                loss = cast("torch.Tensor", super()._compute_loss(model, part)) * scale
                self._go_backward(loss)
            total = total + loss.detach()
            scores = cast("tuple[torch.Tensor, torch.Tensor] | None", self._scores)
            if scores is not None:
                self.grad_norms[module] = norm_of_change(self._weights, grads)
                self.token_sums |= measure_tokens(part, *scores, limits=limits)
        pool_logged(logged, before_all, tokens)
        for parameter in self._weights:
            parameter.requires_grad_()
        return total + 0.0 * self._weights[0].sum()


def _unpad(
    ids: torch.Tensor, mask: torch.Tensor, prompt_width: int
) -> list[tuple[list[int], list[int]]]:
    rows: list[tuple[list[int], list[int]]] = []
    of_rows = cast("list[list[int]]", ids.tolist())
    masks = cast("list[list[int]]", mask.tolist())
    for tokens, kept in zip(of_rows, masks, strict=True):
        places = [place for place, keep in enumerate(kept) if keep]
        prompt = [tokens[place] for place in places if place < prompt_width]
        rows.append((prompt, [tokens[place] for place in places if place >= prompt_width]))
    return rows


def _no_reward(completions: list[Any], **_: Any) -> list[float | None]:
    """TRL wants a reward function; rewards come with the episodes."""
    return [0.0] * len(completions)
