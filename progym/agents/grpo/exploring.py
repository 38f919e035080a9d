"""The episodes of an mmGRPO run, on train and on val, and the account of what they cost."""

from __future__ import annotations

import time
from collections.abc import Sequence

from progym.agents.grpo.config import GrpoConfig
from progym.agents.grpo.drawing import draw_examples
from progym.agents.grpo.metrics import mean_score
from progym.agents.grpo.teaching import Actor
from progym.agents.model import Sampling
from progym.agents.policy import Policy
from progym.agents.processes import ALONE, Processes
from progym.agents.rollouts import RolloutRequest, requests_for, roll_out
from progym.agents.seeding import derive_seed
from progym.agents.stage import Cost, CurvePoint, Task, cost_of
from progym.envs.env import ProgramEnv
from progym.envs.errors import ServiceFault
from progym.envs.records import Episode

_SEEDS = 100_000
"""Episodes that an environment without examples has in an epoch."""


class Explorer:
    """Runs a policy whose weights change under it; `cost` and `curve` grow with every call.

    `modules` are the program's, None where there is no program; of them those in `untrained` are
    frozen, or answered by another model. The first of `actors` is the policy itself; the others,
    its teachers, share the rollouts of each example with it.
    """

    def __init__(
        self,
        task: Task,
        policy: Policy,
        actors: Sequence[Actor],
        *,
        config: GrpoConfig,
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        self.cost, self.curve = Cost(), list[CurvePoint]()
        self._task, self._actors = task, actors
        self._config, self._seed, self._processes = config, seed, processes
        self.untrained = frozenset({*config.lora.frozen, *policy.models})
        self._train_ids, self.modules = _examine(task, "train")
        watch = config.watch
        val_ids = _examine(task, "val")[0] if watch.eval_every else ()
        self._val_ids = val_ids[: watch.eval_examples]

    def train(self, step: int) -> list[Episode]:
        """Run the rollouts of a step, counted from 0, at the config's temperature."""
        config = self._config
        ids = draw_examples(self._train_ids, step, count=config.examples_per_step, seed=self._seed)
        requests = requests_for(
            ids, repeats=config.rollouts, seed=derive_seed(self._seed, "rollouts", step)
        )
        return self._run("train", requests, step, self._actors)

    def is_taught(self, run: int) -> bool:
        """Whether a run of a step, by its position, was drawn by a teacher."""
        return self.drawn_by(run) > 0

    def drawn_by(self, run: int) -> int:
        """Say who drew a run of a step, by its position: 0 the policy, k its k-th teacher."""
        return self._turn(run, self._actors)

    def validate(self, step: int) -> float:
        """Evaluate after `step` steps as training samples; gives the mean score."""
        requests = requests_for(
            self._val_ids, repeats=1, seed=derive_seed(self._seed, "validation")
        )
        self._run("val", requests, step, self._actors[:1])
        return self.curve[-1].score

    def _run(
        self, split: str, requests: Sequence[RolloutRequest], step: int, actors: Sequence[Actor]
    ) -> list[Episode]:
        started = time.perf_counter()
        mine = self._processes.share(range(len(requests)))

        def draw() -> list[Episode]:
            found: dict[int, Episode] = {}
            for turn, actor in enumerate(actors):
                places = [place for place in mine if self._turn(place, actors) == turn]
                asked = [requests[place] for place in places]
                found |= zip(places, self._roll_out(split, actor, asked), strict=True)
            return [found[place] for place in mine]

        episodes = self._processes.collect(draw)
        self.cost += cost_of(episodes, time.perf_counter() - started)
        score = mean_score([e for run, e in enumerate(episodes) if not self._turn(run, actors)])
        faults = [episode.fault for episode in episodes if episode.score is None]
        if score is None or (split == "val" and faults):
            raise ServiceFault(
                f"{len(faults)} of {len(episodes)} {split} episodes of step {step} ended in "
                f"faults, the first: {faults[0]}. Mend what failed and run again."
            )
        self.curve.append(CurvePoint(step, self.cost.rollouts, score, split))
        return episodes

    def _turn(self, run: int, actors: Sequence[Actor]) -> int:
        """Say which of the actors draws a run: they take turns over those of an example."""
        return run % self._config.rollouts % len(actors)

    def _roll_out(
        self, split: str, actor: Actor, requests: Sequence[RolloutRequest]
    ) -> list[Episode]:
        return roll_out(
            lambda: self._task.make(split),
            actor.model,
            actor.prompts,
            requests,
            sampling=Sampling(self._config.temperature, self._config.max_completion_length),
        )


def _examine(task: Task, split: str) -> tuple[Sequence[str], frozenset[str] | None]:
    """List a split's examples, and a program's modules.

    An environment that is no program of ours has no modules to list, and seeds for examples.
    """
    env = task.make(split)
    try:
        program = env.unwrapped
        if isinstance(program, ProgramEnv):
            return program.examples.ids, program.program.names
        return [f"{split}-{number}" for number in range(_SEEDS)], None
    finally:
        env.close()
