"""The stage `po`: bootstrap demos on train, search candidates on train, choose on val.

Every evaluation is written down as it is made, so a search that was killed goes on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from progym.agents.model import LanguageModel, Sampling
from progym.agents.models import load_model
from progym.agents.policy import Policy, save_policy
from progym.agents.prompting.candidates import propose, solved_calls
from progym.agents.prompting.config import PoConfig
from progym.agents.prompting.halving import halve
from progym.agents.rollouts import requests_for, roll_out
from progym.agents.seeding import derive_seed
from progym.agents.stage import Cost, CurvePoint, Report, StageResult, Task, cost_of
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue, ServiceFault
from progym.envs.module import Module
from progym.envs.prompts import PromptSet
from progym.envs.records import Episode


@dataclass(frozen=True)
class PromptOptimization:
    """Searches instructions and demos for all modules at once; the weights stay as they are."""

    config: PoConfig = field(default_factory=PoConfig)
    load: Callable[[Policy], LanguageModel] = load_model
    name: str = "po"

    def run(
        self, policy: Policy, task: Task, *, seed: int, folder: Path, report: Report
    ) -> StageResult:
        """Search prompt sets for a task, starting from the policy's own."""
        folder.mkdir(parents=True, exist_ok=True)
        search = _Search(self.config, policy, task, seed, folder, report)
        best = search.run(self.load)
        chosen = save_policy(replace(policy, prompts=best), folder / "policy")
        return StageResult(chosen, search.ledger.cost, tuple(search.curve))


@dataclass(frozen=True)
class _Evaluation:
    """Scores of one batch of rollouts, as the ledger keeps them."""

    key: str
    scores: tuple[float, ...]
    cost: Cost


class _Ledger:
    """The evaluations made so far, one JSON line each; a line cut short by a kill is redone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, _Evaluation] = {}
        self.cost = Cost()
        if path.exists():
            whole = [line for line in path.read_text("utf-8").splitlines(True) if line[-1] == "\n"]
            path.write_text("".join(whole), "utf-8")
            for line in whole:
                values = json.loads(line)
                entry = _Evaluation(values["key"], tuple(values["scores"]), Cost(**values["cost"]))
                self._known[entry.key] = entry

    def find(self, key: str) -> _Evaluation | None:
        """Give a recorded evaluation and count its cost."""
        entry = self._known.get(key)
        if entry is not None:
            self.cost += entry.cost
        return entry

    def add(self, entry: _Evaluation) -> None:
        """Write an evaluation down and count its cost."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
        self.cost += entry.cost


class _Search:
    """One run of the search; all rollouts go through `_draw`, which pays for them."""

    def __init__(
        self, config: PoConfig, policy: Policy, task: Task, seed: int, folder: Path, report: Report
    ) -> None:
        self.config, self.policy, self.task, self.seed = config, policy, task, seed
        self.ledger = _Ledger(folder / "evaluations.jsonl")
        self.curve: list[CurvePoint] = []
        self._folder, self._report = folder, report
        self._sampling = Sampling(config.temperature, config.max_completion_length)

    def run(self, load: Callable[[Policy], LanguageModel]) -> PromptSet:
        """Bootstrap, halve, and compare the finalists with the starting set on val."""
        self._model = load(self.policy)
        config, start = self.config, self.policy.prompts
        rng = np.random.default_rng(derive_seed(self.seed, "po"))
        train_ids, modules = self._split("train", rng)
        val_ids, _ = self._split("val", rng)
        first = train_ids[: config.bootstrap_examples]
        bootstrapped = self._bootstrap(first)
        proposals = propose(
            modules, start, solved_calls(bootstrapped), max_demos=config.max_demos, rng=rng
        )
        candidates = _distinct(proposals, config.candidates)
        final_ids = val_ids[: config.final_examples]
        left = config.rollouts - self.ledger.cost.rollouts - 3 * len(final_ids)
        ranked = halve(
            candidates,
            train_ids[config.bootstrap_examples :],
            lambda prompts, ids: self._scores(prompts, "train", ids),
            first_rung=config.rung_examples,
            budget=left,
        )
        finalists = [start, *(r.prompts for r in ranked[:2] if r.prompts.digest != start.digest)]
        return max(finalists, key=lambda prompts: self._final(prompts, final_ids))

    def _final(self, prompts: PromptSet, ids: Sequence[str]) -> float:
        mean = float(np.mean(self._scores(prompts, "val", ids)))
        self.curve.append(CurvePoint(len(self.curve), self.ledger.cost.rollouts, mean, "val"))
        return mean

    def _split(self, split: str, rng: np.random.Generator) -> tuple[list[str], tuple[Module, ...]]:
        env = self.task.make(split)
        inner = env.unwrapped
        if not isinstance(inner, ProgramEnv):
            raise BadValue(f"{self.task.env_id} has no modules to write prompts for.")
        ids = [inner.examples.ids[int(i)] for i in rng.permutation(len(inner.examples))]
        env.close()
        return ids, inner.program.modules

    def _bootstrap(self, ids: Sequence[str]) -> list[Episode]:
        episodes, cost = self._draw(self.policy.prompts, "train", ids)
        self.ledger.cost += cost
        scores = [e.score for e in episodes if e.score is not None]
        self.curve.append(CurvePoint(0, cost.rollouts, float(np.mean(scores)), "train"))
        return episodes

    def _scores(self, prompts: PromptSet, split: str, ids: Sequence[str]) -> Sequence[float]:
        key = f"{prompts.digest}:{split}:{','.join(ids)}"
        known = self.ledger.find(key)
        if known is None:
            episodes, cost = self._draw(prompts, split, ids)
            scores = tuple(e.score for e in episodes if e.score is not None)
            if len(scores) < len(episodes):
                fault = next(e.fault for e in episodes if e.score is None)
                raise ServiceFault(
                    f"{len(episodes) - len(scores)} of {len(episodes)} rollouts of the search "
                    f"failed: {fault}. Mend the service and run again; what was evaluated is kept."
                )
            known = _Evaluation(key, scores, cost)
            self.ledger.add(known)
        self._report("prompt search", self.ledger.cost.rollouts, self.config.rollouts)
        return known.scores

    def _draw(
        self, prompts: PromptSet, split: str, ids: Sequence[str]
    ) -> tuple[list[Episode], Cost]:
        started = time.perf_counter()
        requests = requests_for(ids, repeats=1, seed=derive_seed(self.seed, "po", split))
        episodes = roll_out(
            lambda: self.task.make(split), self._model, prompts, requests, sampling=self._sampling
        )
        return episodes, cost_of(episodes, time.perf_counter() - started)


def _distinct(proposals: Iterable[PromptSet], count: int) -> list[PromptSet]:
    found: dict[str, PromptSet] = {}
    for prompts in islice(proposals, 20 * count):  # small spaces hold fewer than `count`
        found.setdefault(prompts.digest, prompts)
        if len(found) == count:
            break
    return list(found.values())
