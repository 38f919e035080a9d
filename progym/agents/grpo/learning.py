"""The run behind the stage `mmgrpo`: rollouts, groups, an update, a record; again.

TRL's training loop drives it. Importing this takes seconds (torch, TRL).
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import PeftModel
from transformers import TrainerCallback

from progym.agents.grpo.batch import Batch, make_batch, make_rows
from progym.agents.grpo.config import GrpoConfig, pick
from progym.agents.grpo.exploring import Explorer
from progym.agents.grpo.grouping import GROUPINGS, form_groups
from progym.agents.grpo.metrics import Metrics, MetricsFile, summarize_modules, summarize_step
from progym.agents.grpo.padding import PADDINGS
from progym.agents.grpo.selection import SELECTIONS
from progym.agents.grpo.trainer import GroupTrainer, check_gradients
from progym.agents.grpo.trl_settings import (
    check_adapter,
    lora_config,
    own_generators,
    trl_config,
)
from progym.agents.models.transformers_lm import TransformersModel
from progym.agents.seeding import derive_seed
from progym.agents.stage import Report
from progym.envs.errors import ProgymError

logger = logging.getLogger(__name__)

_LEVEL_STEPS = 5
"""Steps in a row after which a module that learns nothing is worth a warning."""


class Learner(TrainerCallback):
    """Feeds TRL's loop with groups and writes down what happens in it.

    `learn` trains the model's adapter in place, a new one where it has none.
    """

    def __init__(
        self,
        model: TransformersModel,
        explorer: Explorer,
        config: GrpoConfig,
        *,
        folder: Path,
        seed: int,
        report: Report,
    ) -> None:
        self._explorer, self._config, self._seed = explorer, config, seed
        self._report = report
        self._records = MetricsFile(folder / "metrics.jsonl")
        self._step: Metrics = {}
        self._modules: dict[str, Metrics] = {}
        self._level_steps: dict[str, int] = {}
        self._sampled_at = 0.0
        adapted = isinstance(model.model, PeftModel)
        if adapted:
            check_adapter(model.model, config.lora)
        with own_generators():
            self._trainer = GroupTrainer(
                model.model,
                trl_config(config, folder, seed, on_cpu=model.model.device.type == "cpu"),
                make_batch=self._make_batch,
                tokenizer=model.tokenizer,
                peft_config=None if adapted else lora_config(config),
                callbacks=[self],
            )

    def learn(self) -> PeftModel:
        """Train to the last step and give the model with its adapter; raises TrainingDiverged."""
        with own_generators():
            try:
                self._trainer.train()
            except ProgymError as error:
                self._record({"error": str(error)})
                raise
        return cast("PeftModel", self._trainer.model).eval()

    def _make_batch(self, step: int) -> Batch:
        config, rules = self._config, self._config.groups
        started = time.perf_counter()
        # Of this step alone, should it fail before there is anything to say of it.
        self._step = {"step": step}
        self._modules = {}
        self._sampled_at = started
        self._trainer.module_entropies = {}
        episodes = self._explorer.train(step)
        self._sampled_at = time.perf_counter()
        formed = form_groups(
            episodes,
            np.random.default_rng(derive_seed(self._seed, "groups", step)),
            size=config.num_generations,
            grouping=pick("grouping", rules.grouping, GROUPINGS),
            padding=pick("padding", rules.padding, PADDINGS),
            selection=pick("selection", rules.selection, SELECTIONS),
        )
        rows = make_rows(formed.groups, rules.scale_rewards)
        batch = make_batch(rows, loss_type=config.loss_type, beta=config.beta)
        self._modules = summarize_modules(episodes, formed)
        self._step = {
            "step": step,
            **summarize_step(episodes, formed),
            "rows": len(rows),
            "rows/trained": len(batch.rows),
            "time/rollout": self._sampled_at - started,
        }
        self._warn_of_level_modules()
        # What the update draws (dropout, TRL's shuffle) comes from the seed, not the process.
        torch.manual_seed(derive_seed(self._seed, "update", step))
        return batch

    def _warn_of_level_modules(self) -> None:
        for name, metrics in self._modules.items():
            level = metrics["frac_reward_zero_std"] == 1.0
            self._level_steps[name] = self._level_steps.get(name, 0) + 1 if level else 0
            if self._level_steps[name] == _LEVEL_STEPS:
                logger.warning(
                    "For %d steps in a row, all rewards in every group of module %r were equal: it "
                    "learns nothing. Draw more rollouts, raise temperature, or take a reward that "
                    "tells its answers apart.",
                    _LEVEL_STEPS,
                    name,
                )

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Evaluate the policy as it came."""
        self._evaluate(0)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Keep a ruined gradient away from the weights."""
        check_gradients(kwargs["model"], state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Write an update's record; after the last update on a batch, report and evaluate."""
        logs: dict[str, Any] = kwargs["logs"]
        if "loss" not in logs:  # TRL's summary of the whole run
            return
        self._record({"update": state.global_step, **logs})
        done, rest = divmod(state.global_step, self._config.num_iterations)
        if rest == 0:
            self._report("mmgrpo", done, self._config.max_steps)
            self._evaluate(done)

    def _evaluate(self, step: int) -> None:
        every = self._config.eval_every
        if every and (step % every == 0 or step == self._config.max_steps):
            score = self._explorer.validate(step)
            self._records.write({"step": step, "split": "val", "score": score})

    def _record(self, values: dict[str, Any]) -> None:
        entropies = self._trainer.module_entropies
        modules = {
            name: {**metrics, "entropy": entropies.get(name)}
            for name, metrics in self._modules.items()
        }
        if not entropies:  # nothing was trained on: TRL's mean over no tokens is not one
            values = {**values, "entropy": None, "kl": None}
        update = time.perf_counter() - self._sampled_at
        self._records.write(
            {**values, "split": "train", **self._step, "time/update": update, "modules": modules}
        )
