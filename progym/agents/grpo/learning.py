"""The run behind the stage `mmgrpo`: rollouts, groups, an update, a record; again.

TRL's training loop drives it. A run that goes on is a run of the steps that are left, with the
weights, the optimizer and the records of a checkpoint. Importing this takes seconds (torch, TRL).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from progym.agents.grpo.adapting import prepare_adapters
from progym.agents.grpo.batch import Batch, make_batch, make_rows
from progym.agents.grpo.checkpoint import (
    Best,
    Checkpoint,
    load_checkpoint,
    put_weights,
    save_checkpoint,
    take_weights,
)
from progym.agents.grpo.config import GrpoConfig
from progym.agents.grpo.exploring import Explorer
from progym.agents.grpo.forming import form_groups
from progym.agents.grpo.gradients import check_gradients
from progym.agents.grpo.recording import StepRecord, StepRecords, flatten
from progym.agents.grpo.trainer import GroupTrainer
from progym.agents.grpo.trl_settings import own_generators, trl_config
from progym.agents.models.transformers_lm import TransformersModel
from progym.agents.processes import ALONE, Processes
from progym.agents.seeding import derive_seed
from progym.agents.stage import Report
from progym.envs.errors import ProgymError

CHECKPOINT = "checkpoint.pt"


class Learner(TrainerCallback):
    """Feeds TRL's loop with groups and writes down what happens in it.

    `learn` trains new adapters on the model, which begin as copies of those that it has. Where the
    folder holds a checkpoint, the run goes on from it.
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
        processes: Processes = ALONE,
    ) -> None:
        self._explorer, self._config, self._seed = explorer, config, seed
        self._report, self._path, self._processes = report, folder / CHECKPOINT, processes
        self._started = time.perf_counter()
        self._resumed = load_checkpoint(self._path)
        self._best = self._resumed.best if self._resumed else None
        self._done = self._resumed.step if self._resumed else 0
        if self._resumed:
            explorer.cost, explorer.curve = self._resumed.cost, list(self._resumed.curve)
        self._records = StepRecords(folder, self._resumed) if processes.leads else None
        self._step = StepRecord(self._done)
        self.adapting = prepare_adapters(
            model, config.lora, modules=explorer.modules, untrained=explorer.untrained, seed=seed
        )
        self._trained = self.adapting.weights(model.model)
        if self._resumed:
            put_weights(self._trained, self._resumed.weights)
        self._trainer = self._build_trainer(model, folder)

    def _build_trainer(self, model: TransformersModel, folder: Path) -> GroupTrainer:
        config = self._config
        on_cpu = model.model.device.type == "cpu"
        with own_generators():
            return GroupTrainer(
                model.model,
                trl_config(config, folder, self._seed, on_cpu=on_cpu, done=self._done),
                make_batch=self._make_batch,
                tokenizer=model.tokenizer,
                adapting=self.adapting,
                callbacks=[self],
                first_step=self._done,
                max_loss=config.watch.max_loss,
                importance_sampling_cap=config.teaching.importance_sampling_cap,
                processes=self._processes,
            )

    @property
    def seconds(self) -> float:
        """Wall time of the run, over all its parts."""
        before = self._resumed.seconds if self._resumed else 0.0
        return before + time.perf_counter() - self._started

    def learn(self) -> None:
        """Train to the last step; raises TrainingDiverged."""
        with own_generators():
            try:
                if self._done < self._config.max_steps:
                    self._trainer.train()
            except ProgymError as error:
                self._write_record({"error": str(error)})
                raise
        if self._best is not None and self._config.watch.keep_best:
            put_weights(self._trained, self._best.weights)

    def _make_batch(self, step: int) -> Batch:
        config = self._config
        # Of this step alone, should it fail before there is anything to say of it.
        self._step = StepRecord(step)
        self._trainer.token_sums, self._trainer.grad_norms = {}, {}
        episodes = self._explorer.train(step)
        self._step.sampled_at = time.perf_counter()
        rng = np.random.default_rng(derive_seed(self._seed, "groups", step))
        formed = form_groups(
            episodes,
            rng,
            size=config.num_generations,
            rules=config.groups,
            frozen=self._explorer.untrained,
        )
        rows = make_rows(
            formed.groups, loss_type=config.loss_type, is_taught=self._explorer.is_taught
        )
        batch = make_batch(rows, beta=config.beta)
        self._step.describe(episodes, formed, rows=len(rows), trained=len(batch.rows))
        every = config.watch.record_every
        if self._records and every and (step % every == 0 or step == config.max_steps - 1):
            self._records.keep_runs(step, episodes, formed, self._explorer.drawn_by)
        # What the update draws (dropout, TRL's shuffle) comes from the seed, not the process.
        torch.manual_seed(derive_seed(self._seed, "update", step))
        return batch

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Evaluate the policy as it came, or take up the optimizer where it was left."""
        if self._resumed:
            kwargs["optimizer"].load_state_dict(self._resumed.optimizer)
        else:
            self._evaluate(0)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Keep a ruined gradient away from the weights."""
        check_gradients(kwargs["model"], self._step.step)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Write an update's record; after the last on a batch, report, evaluate, keep, or stop."""
        logs: dict[str, Any] = kwargs["logs"]
        if "loss" not in logs:  # TRL's summary of the whole run
            return
        iterations = self._config.num_iterations
        update = state.global_step
        logged = {name: value for name, value in logs.items() if name != "epoch"}  # of TRL's rows
        self._write_record({"update": update, **logged})
        done, rest = divmod(update, iterations)
        if rest:
            return
        self._report("mmgrpo", done, self._config.max_steps)
        self._evaluate(done)
        watch = self._config.watch
        if watch.patience and self._best and self._best.waited >= watch.patience:
            control.should_training_stop = True
        elif watch.save_every and done % watch.save_every == 0 and done < self._config.max_steps:
            self._save(done, kwargs["optimizer"])

    def _evaluate(self, step: int) -> None:
        every = self._config.watch.eval_every
        if not every or (step % every and step != self._config.max_steps):
            return
        score = self._explorer.validate(step)
        best = self._best
        if best is None or score > best.score:
            self._best = Best(step, score, take_weights(self._trained))
        else:
            self._best = Best(best.step, best.score, best.weights, best.waited + 1)
        if self._records:
            line = {"step": step, "split": "val", "score": score, "best": self._best.step}
            self._records.note(line)
            self._trainer.send({"eval_score": score})

    def _save(self, step: int, optimizer: Any) -> None:
        if self._records is None:
            return
        explorer = self._explorer
        save_checkpoint(
            self._path,
            Checkpoint(
                step=step,
                weights=take_weights(self._trained),
                optimizer=optimizer.state_dict(),
                seconds=self.seconds,
                cost=explorer.cost,
                curve=tuple(explorer.curve),
                lines=self._records.lines,
                signs=self._records.signs.state,
                best=self._best,
            ),
        )

    def _write_record(self, values: dict[str, Any]) -> None:
        trainer = self._trainer
        if self._records:
            record = self._records.write(
                self._step, values, trainer.token_sums, trainer.step_types, trainer.grad_norms
            )
            # TRL has sent its own values.
            trainer.send({n: value for n, value in flatten(record).items() if n not in values})
