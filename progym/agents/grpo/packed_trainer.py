"""TRL's GRPOTrainer fed from outside: its losses, optimizer and logging, rows packed as trees.

Importing this takes seconds (TRL).
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from datasets import Dataset
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig as TrlConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from progym.agents.grpo.batch import Tensors
from progym.agents.grpo.heads import NO_HEAD, Head, computed_head
from progym.agents.grpo.packing import Plan, plan_trees
from progym.agents.grpo.scoring import can_pack, score_rows, tokens_at_once, unpad_rows
from progym.agents.models.training_layers import training_layers

logger = logging.getLogger(__name__)


class PackedTrainer(GRPOTrainer):
    """Has no data, rewards or reference model of TRL's, and no telemetry.

    Args:
        model: A PEFT model around a causal LM.
        args: TRL's own configuration, with gradient_accumulation_steps 1.
        tokenizer: For its pad id.
        callbacks: TRL's callbacks.
        first_step: The step that `args` begins with, of a run that goes on.
    """

    def __init__(
        self,
        model: Any,
        args: TrlConfig,
        tokenizer: Any,
        callbacks: Sequence[TrainerCallback],
        first_step: int,
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
        self._first_step = first_step
        self._scores: tuple[torch.Tensor, torch.Tensor] | None = None
        self._policy = cast("Any", self.model)
        self._head: Head = NO_HEAD
        self._tokens_at_once = tokens_at_once(self._policy)
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

    @property
    def _updates_before(self) -> int:
        """Count the updates of a run that goes on which were made before."""
        return self._first_step * self.num_iterations

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does, at the run's own update, also where it goes on."""
        self.state.global_step += self._updates_before
        try:
            super().log(logs, start_time)
        finally:
            self.state.global_step -= self._updates_before

    def send(self, values: Mapping[str, float]) -> None:
        """Send values to `report_to`, at the update that is being logged."""
        cast("Any", self).callback_handler.on_log(self.args, self.state, self.control, dict(values))

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LambdaLR:
        """Warm up to a constant rate; unlike TRL's schedules, the first update has one above 0."""
        warm = self.args.get_warmup_steps(num_training_steps)
        given = cast("torch.optim.Optimizer", optimizer or self.optimizer)
        done = self._updates_before
        self.lr_scheduler = LambdaLR(given, lambda step: min(1.0, (done + step + 1) / (warm + 1)))
        return self.lr_scheduler

    def _plan(self, part: Tensors) -> Plan:
        """Split rows, all of one module, into as many as memory has room for at once."""
        ids, mask = _join(part)
        count, width = ids.shape
        if not self._packs:
            size = max(1, self._tokens_at_once // width)
            return Plan((), [range(at, min(at + size, count)) for at in range(0, count, size)])
        rows = unpad_rows(ids, mask, part["prompt_ids"].size(1))
        return plan_trees(rows, self._tokens_at_once)

    def _score(self, part: Tensors) -> torch.Tensor:
        """Give the log-probabilities of rows, all of one module, (B, C)."""
        plan, width = self._plan(part), part["completion_ids"].size(1)
        found: dict[int, torch.Tensor] = {}
        with self._headed(plan):
            for tree in plan.trees:
                ids, mask = (values[list(tree)] for values in _join(part))
                scored = self._get_per_token_logps_and_entropies(self._policy, ids, mask, width)
                found |= zip(tree, scored[0], strict=True)
        return torch.stack([found[row] for row in range(len(found))])

    @contextmanager
    def _headed(self, plan: Plan) -> Generator[None]:
        """Score trees of a plan on top of its head."""
        policy = self._policy
        with self.accelerator.autocast(), training_layers(policy):
            try:
                with computed_head(policy, plan.head) as self._head:
                    yield
            finally:
                self._head = NO_HEAD

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        if not attention_mask[:, -logits_to_keep:].any():
            exact = torch.promote_types(self._policy.dtype, torch.float32)  # as scores are
            size = (len(input_ids), logits_to_keep)
            blank = torch.zeros(size, device=input_ids.device, dtype=exact)
            # Joined to the weights, so that a step without rows has gradients: zeros, like TRL.
            idle = sum(p.sum() for p in self._policy.parameters() if p.requires_grad)
            return blank + 0.0 * idle, blank, None
        if not self._packs:
            padded = cast("Any", super()._get_per_token_logps_and_entropies)
            found = padded(model, input_ids, attention_mask, logits_to_keep, **kwargs)
            self._scores = (found[0], found[1]) if found[1] is not None else None
            return found
        rows = unpad_rows(input_ids, attention_mask, input_ids.size(1) - logits_to_keep)
        with self.accelerator.autocast():
            scores = score_rows(
                model,
                rows,
                width=logits_to_keep,
                temperature=self.temperature,
                head=self._head,
            )
        self._scores = (scores.logprobs, scores.entropies)
        return scores.logprobs, scores.entropies, None


def _join(part: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Give ids and masks of prompts and completions side by side."""
    ids = torch.cat([part["prompt_ids"], part["completion_ids"]], dim=1)
    return ids, torch.cat([part["prompt_mask"], part["completion_mask"]], dim=1)


def _no_reward(completions: list[Any], **_: Any) -> list[float | None]:
    """TRL wants a reward function; rewards come with the episodes."""
    return [0.0] * len(completions)
