"""The recipe of the tiny LM: its shape, its lessons in order, and where their text comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from progym.agents.tiny.documents import LIFE, SCHOOL, CarefulShare
from progym.agents.tiny.variants import ASTRAY, OTHER_POINTS, READING

TASKS = {"HoVer4Hop-v0": 12000, "Banking77-v0": 20000, "PAPILLON-v0": 4000}
"""Pretrain examples by task; HoVer's are spread over several encyclopedias."""
PRETRAIN_SEED = 1_000
"""First world seed of the pretraining encyclopedias, so that facts are not learned by heart."""


ALL = {
    "generate_query": 1.0,
    "append_notes": 3.0,
    "classify": 1.2,
    "craft_request": 1.0,
    "respond": 1.2,
}
"""How often each module's documents are drawn; finding the right fact is the hardest to learn."""
SLOW = {
    "generate_query": 0.4,
    "append_notes": 1.0,
    "classify": 3.0,
    "craft_request": 1.5,
    "respond": 2.5,
}
"""The same for the last lessons, when the other modules have still to catch up."""
ALL_AND_VARIANTS = {
    "generate_query": 1.0,
    ASTRAY: 1.5,
    "append_notes": 2.0,
    "classify": 1.5,
    "craft_request": 1.0,
    "respond": 0.5,
    OTHER_POINTS: 2.5,
}
"""The mixture of the last lesson."""


@dataclass(frozen=True)
class Lesson:
    """A part of the training: its mixture of documents, its length and its learning rates."""

    name: str
    steps: int
    careful: CarefulShare
    shares: Mapping[str, float]
    micro_batches: int = 2
    """Batches a step, each of rows of like length: together they mix the modules."""
    muon_lr: float = 0.01
    """Of the weight matrices; reached after a warm-up."""
    adamw_lr: float = 1e-3
    """Of the embeddings and the norms' gains."""
    final_lr: float = 1.0
    """The share of the learning rates that the lesson ends with, come to along a cosine."""


LESSONS = (
    Lesson(
        *("copying names", 300, SCHOOL, {"generate_query": 1.0}),
        micro_batches=1,
        muon_lr=0.02,
        adamw_lr=1.5e-3,
    ),
    Lesson("reading an article", 700, SCHOOL, {"generate_query": 0.5, READING: 3.0}),
    Lesson(
        *("finding facts", 450, SCHOOL),
        {"generate_query": 0.5, "append_notes": 2.0, READING: 1.0},
    ),
    Lesson("every module", 1400, SCHOOL, ALL),
    Lesson("what takes longest", 600, SCHOOL, SLOW, final_lr=0.5),
    Lesson("habits", 500, LIFE, SLOW, final_lr=0.05),
    Lesson("nothing by heart", 500, LIFE, ALL_AND_VARIANTS, final_lr=0.03),
)
"""Taught one after the other: with all modules at once, a model this small does not learn to copy
names in any reasonable time; taught that first, then to find a fact in one article, then in
several, it does in minutes and keeps it."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 0
    hidden_size: int = 160
    num_hidden_layers: int = 4
    num_attention_heads: int = 5
    intermediate_size: int = 448
    max_position_embeddings: int = 2048
    initializer_range: float = 0.04
    lessons: tuple[Lesson, ...] = LESSONS
    tokens_per_micro_batch: int = 3_000
    encyclopedias: int = 240
    """Pretraining worlds the HoVer turns come from."""
