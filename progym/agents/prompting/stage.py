"""The stage `po`: bootstrap demos on train, search candidates on train, choose on val.

Every evaluation is written down as it is made, so a search that was killed goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from progym.agents.identity import claim_folder
from progym.agents.model import LanguageModel, Sampling
from progym.agents.models import load_model
from progym.agents.policy import Policy, save_policy
from progym.agents.prompting.candidates import propose, scores_of, solved_calls
from progym.agents.prompting.config import PoConfig
from progym.agents.prompting.halving import halve
from progym.agents.prompting.ledger import Evaluation, Ledger
from progym.agents.rollouts import requests_for, roll_out
from progym.agents.seeding import derive_seed
from progym.agents.stage import Cost, CurvePoint, Report, StageResult, Task, cost_of
from progym.agents.storage import read_json, write_json
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadData, BadValue
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
        """Search prompt sets for a task, starting from the policy's own.

        Raises:
            BadValue: The folder holds a run with other arguments, or the task is too small.
            ServiceFault: A rollout ended in a fault of the system.
        """
        claim_folder(folder, self.name, config=self.config, policy=policy, task=task, seed=seed)
        search = _Search(self.config, policy, task, seed, folder, report)
        best = search.run(self.load)
        chosen = save_policy(replace(policy, prompts=best), folder / "policy")
        return StageResult(chosen, search.ledger.cost, tuple(search.curve))


class _Search:
    """One run of the search; all rollouts go through `_draw`, which pays for them."""

    def __init__(
        self, config: PoConfig, policy: Policy, task: Task, seed: int, folder: Path, report: Report
    ) -> None:
        self.config, self.policy, self.task, self.seed = config, policy, task, seed
        self.ledger = Ledger(folder / "evaluations.jsonl")
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
        needed = config.bootstrap_examples + config.rung_examples
        if len(train_ids) < needed:
            raise BadValue(
                f"The train split of {self.task.env_id} has {len(train_ids)} examples; "
                f"bootstrap_examples and rung_examples need {needed}. Lower them, or take more "
                "data."
            )
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
        best, top = start, float("-inf")
        for prompts in finalists:
            mean = float(np.mean(self._scores(prompts, "val", final_ids)))
            if mean > top:  # ties keep the starting set
                best, top = prompts, mean
            self.curve.append(CurvePoint(len(self.curve), self.ledger.cost.rollouts, top, "val"))
        return best

    def _split(self, split: str, rng: np.random.Generator) -> tuple[list[str], tuple[Module, ...]]:
        env = self.task.make(split)
        inner = env.unwrapped
        if not isinstance(inner, ProgramEnv):
            raise BadValue(f"{self.task.env_id} has no modules to write prompts for.")
        ids = [inner.examples.ids[int(i)] for i in rng.permutation(len(inner.examples))]
        env.close()
        return ids, inner.program.modules

    def _bootstrap(self, ids: Sequence[str]) -> list[Episode]:
        path = self._folder / "bootstrap.json"
        if not path.is_file():
            drawn, cost = self._draw(self.policy.prompts, "train", ids)
            scores_of(drawn)  # an episode without one is not kept
            episodes = [episode.to_json() for episode in drawn]
            write_json(path, {"episodes": episodes, "cost": asdict(cost)})
        values = read_json(path)
        try:
            found = [Episode.from_json(episode) for episode in values["episodes"]]
            cost = Cost(**values["cost"])
        except (KeyError, TypeError, BadData) as error:
            raise BadData(f"{path}: not a bootstrap of po ({error}). Delete it.") from error
        self.ledger.cost += cost
        mean = float(np.mean(scores_of(found)))
        self.curve.append(CurvePoint(0, cost.rollouts, mean, "train"))
        return found

    def _scores(self, prompts: PromptSet, split: str, ids: Sequence[str]) -> Sequence[float]:
        key = f"{prompts.digest}:{split}:{','.join(ids)}"
        known = self.ledger.find(key)
        if known is None:
            episodes, cost = self._draw(prompts, split, ids)
            known = Evaluation(key, scores_of(episodes), cost)
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
