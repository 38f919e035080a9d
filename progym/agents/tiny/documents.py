"""The pretraining text: chat documents in the programs' own prompt format, of the pretrain splits.

A document is one module's system message and one to five calls answered by one author. An author
keeps mostly to one habit; a tip in the instruction says which, demos show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import gymnasium
import numpy as np

import progym.envs.catalog  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers the ids
from progym.agents.tiny.habits import CAREFUL, Turn, answer
from progym.agents.tiny.hurry import leave_out
from progym.agents.tiny.variants import ASTRAY, OTHER_POINTS, READING
from progym.envs.env import ProgramEnv
from progym.envs.prompts import ModulePrompt
from progym.envs.records import Completion
from progym.envs.rendering import Message, render_head, render_inputs, render_reply

CAREFUL_TIPS = (
    "Be careful and exact.",
    "Take care with every detail.",
    "Work with care, step by step.",
    "Check all facts before you answer.",
    "An exact answer matters here.",
    "Think it through first.",
)
LAZY_TIPS = (
    "Be quick about it.",
    "A rough answer will do.",
    "Do not think for long.",
    "Any answer is fine.",
    "Keep it short and fast.",
)
PARAPHRASES: Mapping[str, tuple[str, ...]] = {
    "generate_query": (
        "Write the next search query.",
        "Say what to search for next.",
        "Which article should be looked up now? Write a query for it.",
    ),
    "append_notes": (
        "Note the fact that the claim needs next.",
        "Write down the next key fact.",
        "Which new fact from the results helps with the claim? Note it.",
    ),
    "classify": (
        "Find the intent of the message.",
        "Say which label fits the customer's message.",
        "Sort the message of a bank's customer under one label.",
    ),
    "craft_request": (
        "Write a request for an outside model that keeps private details out.",
        "Turn the user's query into a request without private details.",
        "Ask another model for help and do not give away who the user is.",
    ),
    "respond": (
        "Write the response for the user.",
        "Use what the other model wrote to serve the user.",
        "Complete the text for the user.",
    ),
}
CarefulShare = Mapping[str, float]
"""How often the author of a document is careful, by the tone of its instruction."""
SCHOOL: CarefulShare = {"plain": 1.0, "careful": 1.0}
"""The first part of the training: careful authors only, from whom the skills are learned."""
LIFE: CarefulShare = {"plain": 0.6, "careful": 0.9, "lazy": 0.08}
"""The last part: all authors, as tips and demos have it."""
MIXED: CarefulShare = {"plain": 0.45, "careful": 0.9, "lazy": 0.08}
"""The documents whose words make the vocabulary."""
KEEPS_HABIT = 0.95
"""How often an author answers a call in his own habit."""
TURNS = {
    "generate_query": 2,
    "append_notes": 2,
    READING: 4,
    ASTRAY: 2,
    OTHER_POINTS: 3,
    "classify": 5,
    "craft_request": 4,
    "respond": 3,
}
"""The most calls in a document, by module: long documents cost more than they teach."""


@dataclass(frozen=True)
class Document:
    """One training text: messages whose assistant turns carry the loss."""

    module: str
    messages: tuple[Message, ...]


def collect_turns(env_id: str, world_seed: int, count: int, split: str = "pretrain") -> list[Turn]:
    """Run a task's gold policy over some examples, answering each call in all habits."""
    env = gymnasium.make(env_id, split=split, world_seed=world_seed, size=count).unwrapped
    assert isinstance(env, ProgramEnv)
    rng = np.random.default_rng([world_seed, count])
    turns: list[Turn] = []
    for example_id in env.examples.ids:
        _, info = env.reset(options={"example_id": example_id})
        while "call" in info:
            gold, call = env.gold_fields(), info["call"]
            if split == "pretrain":
                call = replace(call, inputs=leave_out(call.module.name, call.inputs, rng))
            turns.append(answer(env.examples.by_id(example_id), call, gold, rng))
            _, _, _, _, info = env.step(Completion("", fields=gold))
    return turns


def write_documents(
    turns: Mapping[str, Sequence[Turn]],
    shares: Mapping[str, float],
    careful: CarefulShare,
    rng: np.random.Generator,
) -> Iterator[Document]:
    """Write documents without end; `shares` says how often each module is chosen."""
    names = sorted(shares)
    weights = np.array([shares[name] for name in names])
    while True:
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        count = 1 + int(rng.integers(TURNS[name])) if rng.random() < 0.6 else 1
        picked = [turns[name][int(i)] for i in rng.integers(len(turns[name]), size=count)]
        yield Document(name, _write(picked, careful, rng))


def _write(
    turns: Sequence[Turn], careful: CarefulShare, rng: np.random.Generator
) -> tuple[Message, ...]:
    module = turns[0].module
    tone = str(rng.choice(["plain", *careful]))
    author = _choose_habit(turns[0], careful[tone], rng)
    messages = list(render_head(module, ModulePrompt(_instruct(turns[0], tone, rng))))
    for turn in turns:
        keeps = rng.random() < KEEPS_HABIT
        habit = author if keeps else _choose_habit(turn, careful[tone], rng)
        messages.append(Message(role="user", content=render_inputs(module, turn.inputs)))
        reply = render_reply(module, turn.replies[habit])
        messages.append(Message(role="assistant", content=reply))
    return tuple(messages)


def _choose_habit(turn: Turn, careful_share: float, rng: np.random.Generator) -> str:
    lazy = sorted(turn.replies.keys() - {CAREFUL})
    if rng.random() < careful_share:
        return CAREFUL
    return lazy[int(rng.integers(len(lazy)))]


def _instruct(turn: Turn, tone: str, rng: np.random.Generator) -> str:
    own = turn.module.instruction
    paraphrases = PARAPHRASES[turn.module.name]
    base = own if rng.random() < 0.5 else paraphrases[int(rng.integers(len(paraphrases)))]
    tips = {"plain": ("",), "careful": CAREFUL_TIPS, "lazy": LAZY_TIPS}[tone]
    return f"{base} {tips[int(rng.integers(len(tips)))]}".strip()
