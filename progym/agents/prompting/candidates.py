"""Candidate prompt sets: instructions with a tip, demos from the policy's own best episodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from progym.envs.errors import ServiceFault
from progym.envs.module import Module
from progym.envs.prompts import Demo, ModulePrompt, PromptSet
from progym.envs.records import Episode

TIPS = (
    "Take care: check each detail before you reply.",
    "Be exact and stay with the facts that are given.",
    "Reply fast, a first guess will do.",
    "Think step by step, with care.",
    "Use plain and simple words.",
    "Keep your reply short.",
)
"""Tips that may be added to an instruction; which of them help is for the search to find out."""


@dataclass(frozen=True)
class SolvedCall:
    """A call from an episode that went well, ready to become a demo."""

    example_id: str
    demo: Demo


def scores_of(episodes: Sequence[Episode]) -> tuple[float, ...]:
    """Give every episode's score; raises ServiceFault where one has none."""
    scores = tuple(e.score for e in episodes if e.score is not None)
    if len(scores) < len(episodes):
        fault = next(e.fault for e in episodes if e.score is None)
        raise ServiceFault(
            f"{len(episodes) - len(scores)} of {len(episodes)} rollouts of the search failed: "
            f"{fault}. Mend the service and run again; what was evaluated is kept."
        )
    return scores


def solved_calls(episodes: Sequence[Episode]) -> dict[str, list[SolvedCall]]:
    """Take the calls of the best episode of each example, by module, where it beats the mean."""
    scores = scores_of(episodes)
    mean = float(np.mean(scores))
    best: dict[str, tuple[Episode, float]] = {}
    for episode, score in zip(episodes, scores, strict=True):
        known = best.get(episode.example_id)
        if known is None or score > known[1]:
            best[episode.example_id] = episode, score
    solved: dict[str, list[SolvedCall]] = {}
    for episode, score in best.values():
        if score > mean:
            for call in episode.calls:
                demo = Demo(call.inputs, call.fields)
                solved.setdefault(call.module, []).append(SolvedCall(episode.example_id, demo))
    return solved


def propose(
    modules: Sequence[Module],
    start: PromptSet,
    solved: Mapping[str, Sequence[SolvedCall]],
    *,
    max_demos: int,
    rng: np.random.Generator,
) -> Iterator[PromptSet]:
    """Give the starting set first, then random candidates without end; may repeat.

    Each candidate draws, for each module by itself, one of the instructions and zero to `max_demos`
    demos of different examples.
    """
    yield start
    while True:
        prompts: dict[str, ModulePrompt] = {}
        for module in modules:
            base = start.of(module)
            tip = int(rng.integers(len(TIPS) + 1))
            instruction = f"{base.instruction} {TIPS[tip]}" if tip < len(TIPS) else base.instruction
            demos = _draw_demos(solved.get(module.name, ()), int(rng.integers(max_demos + 1)), rng)
            prompts[module.name] = ModulePrompt(instruction, demos or base.demos)
        yield PromptSet(prompts)


def _draw_demos(
    solved: Sequence[SolvedCall], count: int, rng: np.random.Generator
) -> tuple[Demo, ...]:
    chosen: dict[str, Demo] = {}
    for position in rng.permutation(len(solved)):
        if len(chosen) == count:
            break
        call = solved[int(position)]
        chosen.setdefault(call.example_id, call.demo)
    return tuple(chosen.values())
