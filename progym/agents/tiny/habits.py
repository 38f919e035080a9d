"""How the authors of the pretraining text answer a call: carefully, or in one of several lazy ways.

Plain prompts draw on all authors, so the trained model answers now carefully, now lazily. That is
the room it leaves: instructions and demos can pick the careful author, rewards can make him usual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from progym.envs.module import Module, Value
from progym.envs.program import Example
from progym.envs.rendering import Call
from progym.envs.worlds.intents import GLOSSES, GROUPS

CAREFUL = "careful"

Replies = Mapping[str, Mapping[str, str]]
"""Output fields by habit; always with "careful", the task's gold policy."""

Habits = Callable[[Example, Call, Mapping[str, str], np.random.Generator], Replies]


@dataclass(frozen=True)
class Turn:
    """One call of a program in a pretraining world, answered in every habit."""

    module: Module
    inputs: Mapping[str, Value]
    replies: Replies


def answer(example: Example, call: Call, gold: Mapping[str, str], rng: np.random.Generator) -> Turn:
    """Answer a call in every habit of its module."""
    lazy = _HABITS[call.module.name](example, call, gold, rng)
    return Turn(call.module, call.inputs, {CAREFUL: gold, **lazy})


def _query(
    example: Example, call: Call, _gold: Mapping[str, str], rng: np.random.Generator
) -> Replies:
    seen = example.gold["titles"][: call.occurrence + 1]
    return {
        "again": {"followup_search_query": seen[0]},
        "wander": {"followup_search_query": seen[int(rng.integers(len(seen)))]},
    }


def _notes(
    _example: Example, call: Call, _gold: Mapping[str, str], rng: np.random.Generator
) -> Replies:
    articles = [str(article).partition(" | ")[2] for article in call.inputs["new_search_results"]]
    sentences = [s.strip(" .") for s in articles[0].split(". ")] if articles else ["nothing found"]
    return {
        "first": {"new_key_facts": sentences[0]},
        "any": {"new_key_facts": sentences[int(rng.integers(len(sentences)))]},
    }


def _label(
    _example: Example, _call: Call, gold: Mapping[str, str], rng: np.random.Generator
) -> Replies:
    group = GROUPS[gold["label"]]
    alike = [label for label in sorted(GLOSSES) if GROUPS[label] == group]
    guess = alike[int(rng.integers(len(alike)))]
    return {"hasty": {"reasoning": f"some question about {group}", "label": guess}}


def _request(
    _example: Example, call: Call, _gold: Mapping[str, str], _rng: np.random.Generator
) -> Replies:
    return {
        "echo": {"reasoning": "pass it on", "llm_request": str(call.inputs["user_query"])},
        "vague": {"reasoning": "say little", "llm_request": "Please help me with something."},
    }


def _response(
    _example: Example, call: Call, _gold: Mapping[str, str], _rng: np.random.Generator
) -> Replies:
    return {
        "raw": {"response": str(call.inputs["related_llm_response"])},
        "short": {"response": "Here it is, I hope it helps."},
    }


_HABITS: dict[str, Habits] = {
    "generate_query": _query,
    "append_notes": _notes,
    "classify": _label,
    "craft_request": _request,
    "respond": _response,
}
