"""Rollouts: many episodes at once, all their pending calls in one batch for the language model.

As soon as an episode's completion is there it steps, and its next call joins the next batch; a
finished episode makes room for a waiting one. A model that answers over the network gets a thread
for each episode instead, so that no episode waits for another's completion.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol, runtime_checkable

from progym.agents.in_flight import EpisodeInFlight, RolloutRequest, TextEnv
from progym.agents.model import LanguageModel, Sampling, StandingModel
from progym.agents.seeding import derive_seed
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue, PromptTooLong, ServiceFault
from progym.envs.prompts import PromptSet
from progym.envs.records import Episode

__all__ = ["ConcurrentModel", "RolloutRequest", "requests_for", "roll_out"]

logger = logging.getLogger(__name__)

_Advance = Callable[[], Episode | None]
_SERVICE_THREADS = 32
"""Services on the network that are waited for at once when a local model drives the episodes."""


@runtime_checkable
class ConcurrentModel(Protocol):
    """A language model whose `generate` may be called from many threads at once."""

    concurrency: int
    """Requests it takes at once; more episodes than that are never in flight."""


def requests_for(example_ids: Iterable[str], *, repeats: int, seed: int) -> list[RolloutRequest]:
    """Ask for `repeats` rollouts of every example, those of one example side by side."""
    return [
        RolloutRequest(example_id, derive_seed(seed, example_id, repeat))
        for example_id in example_ids
        for repeat in range(repeats)
    ]


def roll_out(
    make_env: Callable[[], TextEnv],
    model: LanguageModel,
    prompts: PromptSet,
    requests: Sequence[RolloutRequest],
    *,
    sampling: Sampling,
    max_in_flight: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> list[Episode]:
    """Run the requested episodes and give their records in the requests' order.

    An episode that fails is recorded with status "fault" and leaves the others alone; so is one
    whose model could not be reached. One whose prompt outgrows the model's context ends as
    truncated. A caller's mistake (an unknown example, a plain first prompt longer than the model's
    context) raises.

    Args:
        make_env: Makes one more environment; each is used for many episodes.
        model: Writes the completions.
        prompts: What calls are rendered with.
        requests: One for each episode.
        sampling: How completions are drawn.
        max_in_flight: Episodes that run at once, and so the most calls in one batch.
        progress: Told (episodes done, episodes in all) after each that ends.
    """
    if max_in_flight < 1:
        raise BadValue(f"max_in_flight must be 1 or more, got {max_in_flight}.")
    episodes: dict[int, Episode] = {}

    def done(position: int, episode: Episode) -> None:
        episodes[position] = episode
        if progress is not None:
            progress(len(episodes), len(requests))

    pool = _EnvPool(make_env)
    run = _Run(pool, model, prompts, sampling, done)
    try:
        pool.check(prompts)
        if isinstance(model, ConcurrentModel):
            run.in_threads(requests, min(max_in_flight, model.concurrency))
        else:
            with model.standing() if isinstance(model, StandingModel) else nullcontext():
                run.in_batches(requests, max_in_flight)
    finally:
        pool.close()
    return [episodes[position] for position in range(len(requests))]


class _EnvPool:
    """Environments that are made when none is idle, and used again."""

    def __init__(self, make_env: Callable[[], TextEnv]) -> None:
        self._make_env = make_env
        self._idle: SimpleQueue[TextEnv] = SimpleQueue()
        self._made: list[TextEnv] = []

    def take(self) -> TextEnv:
        try:
            return self._idle.get_nowait()
        except Empty:
            env = self._make_env()
            self._made.append(env)
            return env

    def give(self, env: TextEnv) -> None:
        self._idle.put(env)

    def check(self, prompts: PromptSet) -> None:
        env = self.take()
        self.give(env)
        if isinstance(env.unwrapped, ProgramEnv):
            prompts.check(env.unwrapped.program.modules)

    def close(self) -> None:
        for env in self._made:
            env.close()


@dataclass(frozen=True)
class _Run:
    """What all episodes of one `roll_out` share, and the two ways to drive them."""

    pool: _EnvPool
    model: LanguageModel
    prompts: PromptSet
    sampling: Sampling
    done: Callable[[int, Episode], None]

    def in_batches(self, requests: Sequence[RolloutRequest], max_in_flight: int) -> None:
        """Advance all episodes together; equal requests make equal batches."""
        waiting = deque(enumerate(requests))
        flying: dict[int, EpisodeInFlight] = {}
        with ThreadPoolExecutor(_SERVICE_THREADS, "progym-service") as threads:
            while waiting or flying:
                room = min(max_in_flight - len(flying), len(waiting))
                new = [waiting.popleft() for _ in range(room)]
                begun = {i: EpisodeInFlight(self.pool.take(), request) for i, request in new}
                flying |= begun
                starts = {i: episode.begin for i, episode in begun.items()}
                self._land(flying, _advance_all(starts, begun, threads))
                answers = self._generate(flying)
                self._land(flying, _advance_all(answers, flying, threads))

    def in_threads(self, requests: Sequence[RolloutRequest], threads: int) -> None:
        """Run every episode in a thread of its own."""
        with ThreadPoolExecutor(threads, "progym-episode") as executor:
            futures = {
                executor.submit(self._alone, request): i for i, request in enumerate(requests)
            }
            try:
                for future in as_completed(futures):
                    self.done(futures[future], future.result())
            except BaseException:  # a caller's mistake or Ctrl-C: begin no further episode
                executor.shutdown(wait=False, cancel_futures=True)
                raise

    def _alone(self, request: RolloutRequest) -> Episode:
        episode = EpisodeInFlight(self.pool.take(), request)
        record = episode.begin()
        while record is None:
            [advance] = self._generate({0: episode}).values()
            record = advance()
        self.pool.give(episode.env)
        return record

    def _generate(self, flying: dict[int, EpisodeInFlight]) -> dict[int, _Advance]:
        """Have all pending calls answered; gives what to do next with each episode."""
        if not flying:
            return {}
        name = self.model.name
        wanted = [episode.request(self.prompts) for episode in flying.values()]
        try:
            completions = self.model.generate(wanted, self.sampling)
        except PromptTooLong as error:
            return self._cut(flying, error)
        except ServiceFault as error:
            logger.warning("%s failed with %d calls pending: %s", name, len(wanted), error)
            fault = f"ServiceFault: {name}: {error}"
            return {i: partial(episode.fail, fault) for i, episode in flying.items()}
        pairs = zip(flying.items(), completions, strict=True)
        return {i: partial(episode.answer, completion) for (i, episode), completion in pairs}

    def _cut(self, flying: dict[int, EpisodeInFlight], error: PromptTooLong) -> dict[int, _Advance]:
        """End the episodes whose prompts are too long; have the other calls answered."""
        places = list(flying)
        too_long = {i: flying[i] for i in (places[place] for place in error.positions)}
        if not too_long or any(one.is_plain_start(self.prompts) for one in too_long.values()):
            raise error
        logger.warning("%d of %d calls end their episodes: %s", len(too_long), len(places), error)
        rest = {i: episode for i, episode in flying.items() if i not in too_long}
        cut = {i: partial(episode.cut, str(error)) for i, episode in too_long.items()}
        return {**cut, **self._generate(rest)}

    def _land(
        self, flying: dict[int, EpisodeInFlight], advanced: dict[int, Episode | None]
    ) -> None:
        for position, record in advanced.items():
            if record is not None:
                self.pool.give(flying.pop(position).env)
                self.done(position, record)


def _advance_all(
    steps: dict[int, _Advance],
    episodes: dict[int, EpisodeInFlight],
    threads: ThreadPoolExecutor,
) -> dict[int, Episode | None]:
    """Advance episodes, at the same time those that ask services on the network."""
    slow = {i: threads.submit(step) for i, step in steps.items() if episodes[i].waits}
    return {i: slow[i].result() if i in slow else step() for i, step in steps.items()}
