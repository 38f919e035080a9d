"""The trainer of groups: a step's rows of all modules, one loss, one update.

TRL asks once a step for completions; here that runs episodes and gives rows of any number instead.
A step is one micro-batch to TRL, so its losses need no correction for splitting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import fmean
from typing import Any, cast

import torch
from transformers import TrainerCallback
from trl.trainer.grpo_config import GRPOConfig as TrlConfig

from progym.agents.grpo.adapting import Adapting
from progym.agents.grpo.batch import (
    Batch,
    Tensors,
    select_rows,
    share_rows,
    split_by_module,
    take_rows,
    to_tensors,
)
from progym.agents.grpo.config import LossType
from progym.agents.grpo.gradients import diverged, share_change
from progym.agents.grpo.off_policy import weigh_tokens
from progym.agents.grpo.packed_trainer import PackedTrainer
from progym.agents.grpo.packing import Plan
from progym.agents.grpo.token_metrics import (
    TokenSums,
    add_sums,
    clip_limits,
    measure_tokens,
    pool_logged,
)
from progym.agents.models.adapters import adapter_in_use
from progym.agents.processes import ALONE, Processes
from progym.envs.module import StepType

MakeBatch = Callable[[int], Batch]
"""Runs the episodes of a step, counted from 0, with the current weights, and gives its rows."""


@dataclass(frozen=True)
class _Part:
    """What a backward pass through some rows left behind."""

    loss: float
    tokens: float
    sums: Mapping[int, TokenSums]


class GroupTrainer(PackedTrainer):
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
        importance_sampling_cap: The largest weight of a token that a teacher drew.
        processes: Those that share the rows; `make_batch` gives each of them all rows.
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
        importance_sampling_cap: float = math.inf,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__(model, args, tokenizer, callbacks, first_step)
        self._adapting = adapting
        self._weights = list(adapting.weights(self.model).values())
        self.step_types: list[StepType] = []
        self.token_sums: dict[int, TokenSums] = {}
        self.grad_norms: dict[str, float] = {}
        self._make_batch, self._max_loss = make_batch, max_loss
        self._batch, self._processes = Batch((), 0, 0), processes
        self._cap = importance_sampling_cap
        self._pad_id: int = tokenizer.pad_token_id

    def _generate_and_score_completions(self, inputs: list[Any]) -> Tensors:  # noqa: ARG002
        self._policy.eval()
        batch = self._make_batch(self._current_step)
        self._policy.train()
        adapting = self._adapting
        new = sorted({row.step_type for row in batch.rows} - set(self.step_types))
        self.step_types.extend(new)
        self._batch = share_rows(batch, self._processes)
        tensors = to_tensors(self._batch, self.step_types, self._pad_id)
        tensors = {name: values.to(self.accelerator.device) for name, values in tensors.items()}
        with torch.no_grad():
            if self.num_iterations > 1:
                tensors["old_per_token_logps"] = self._logprobs(tensors, adapting.trained_for)
            if self.beta:
                tensors["ref_per_token_logps"] = self._logprobs(tensors, adapting.started_for)
            if any(row.drawn_logps for row in batch.rows):
                tensors["advantages"] = self._weigh_taught(tensors)
        return tensors

    def _weigh_taught(self, tensors: Tensors) -> torch.Tensor:
        """Give advantages by token, (B, C), corrected where a teacher drew them."""
        drawn = {place: row.drawn_logps for place, row in enumerate(self._batch.rows)}
        taught = [place for place, logps in drawn.items() if logps]
        student = tensors["advantages"].new_zeros(0, 0)
        if "old_per_token_logps" in tensors:
            student = tensors["old_per_token_logps"][taught]
        elif taught:
            student = self._logprobs(select_rows(tensors, taught), self._adapting.trained_for)
        advantages, weights = weigh_tokens(
            tensors["advantages"],
            student,
            [drawn[place] for place in taught],
            taught=taught,
            width=tensors["completion_ids"].size(1),
            cap=self._cap,
        )
        everywhere = self._processes.collect(lambda: weights)
        logged = cast("dict[str, list[float]]", cast("Any", self)._metrics["train"])
        for name, value in (("min", min), ("mean", fmean), ("max", max)):
            logged[f"sampling/importance_sampling_ratio/{name}"].append(value(everywhere))
        return advantages

    def _logprobs(self, tensors: Tensors, adapter_for: Callable[[str], str | None]) -> torch.Tensor:
        """Score all rows, each module's with its adapter; (B, C)."""
        found = torch.zeros(tensors["completion_ids"].shape, device=tensors["prompt_ids"].device)
        for module, rows, part in split_by_module(tensors, self.step_types):
            with adapter_in_use(self._policy, adapter_for(module)):
                scored = self._score(part)
            found = found.to(scored.dtype)
            found[rows, : scored.size(1)] = scored
        return found

    def _go_backward(self, loss: torch.Tensor) -> float:
        """Go backward from some rows' loss, and give that of all processes."""
        whole = loss.detach().clone()
        self._processes.add_up([whole])
        self._check_loss(whole.item())
        cast("Any", self).accelerator.backward(loss)
        return whole.item()

    def _check_loss(self, value: float) -> None:
        if not abs(value) <= self._max_loss:  # nor NaN
            raise diverged("The loss", value, self._current_step)

    def _compute_loss(self, model: Any, inputs: Tensors) -> torch.Tensor:  # noqa: ARG002
        """Go backward tree by tree, so that memory is one tree's; gives the sum of the losses.

        Each module's gradient is measured, and processes add theirs up here: the policy is scored
        without what TRL wraps around it. What is returned has a gradient of zeros: TRL's own
        backward pass adds nothing.
        """
        logged = cast("dict[str, list[float]]", cast("Any", self)._metrics["train"])
        before_all = {name: len(values) for name, values in logged.items()}
        parts = list[_Part]()
        self.grad_norms = {}
        for module, _, rows in split_by_module(inputs, self.step_types):
            for parameter in self._weights:  # switching adapters freezes those that are not in use
                parameter.requires_grad_()
            grads = [None if p.grad is None else p.grad.clone() for p in self._weights]
            plan = self._plan(rows)
            adapter = self._adapting.trained_for(module)
            with adapter_in_use(self._policy, adapter), self._headed(plan):
                parts += [self._learn(part) for part in self._trees(rows, plan)]
            norm = share_change(self._weights, grads, self._processes)
            if module:
                self.grad_norms[module] = norm
        everywhere = torch.tensor([part.tokens for part in parts])
        self._processes.add_up([everywhere])
        pool_logged(logged, before_all, cast("list[float]", everywhere.tolist()))
        sums = self._processes.collect(lambda: [part.sums for part in parts])
        self.token_sums = add_sums(sums)
        for parameter in self._weights:
            parameter.requires_grad_()
        idle = next(p for p in self._weights if p.grad is not None).sum()
        total = sum(part.loss for part in parts)
        self._check_loss(total)
        return total + 0.0 * idle

    def _trees(self, rows: Tensors, plan: Plan) -> Iterator[Tensors]:
        """Give the rows of each tree; TRL gathers, so all processes have as many of either."""
        sizes = self._processes.collect(lambda: [[len(tree) for tree in plan.trees]])
        for place, counts in enumerate(zip_longest(*sizes, fillvalue=0)):
            tree = plan.trees[place] if place < len(plan.trees) else ()
            yield take_rows(rows, tree, max(counts))

    def _learn(self, part: Tensors) -> _Part:
        """Go backward from the loss of a tree's rows."""
        mask = part["completion_mask"]
        tokens = float(mask.sum().item())
        scale = self._batch.loss_scale(cast("LossType", self.loss_type), len(mask), int(tokens))
        self._scores = None
        loss = cast("torch.Tensor", super()._compute_loss(self._policy, part)) * scale
        whole = self._go_backward(loss)
        scores = cast("tuple[torch.Tensor, torch.Tensor] | None", self._scores)
        limits = clip_limits(self.epsilon_low, self.epsilon_high, self.loss_type)
        sums = measure_tokens(part, *scores, limits=limits) if scores is not None else {}
        self._scores = None  # and the tree's activations with them
        return _Part(whole, tokens, sums)
