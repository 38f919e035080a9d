"""The intents world: bank customers' messages for the 77 intents of Banking77, any number of them.

The names of the intents are the data set's; the sentences (intents.toml) are our own. Splits share
key words, never a sentence. Change VERSION when the content changes.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from progym.envs.examples import Examples
from progym.envs.program import Example
from progym.envs.sources.data import TaskData
from progym.envs.worlds.intents_grammar import TYPO_RATE, compose, mistype
from progym.envs.worlds.seeding import SPLITS, example_id, generator, make_examples, size_of

VERSION = 1
WORLD = "intents"


@dataclass(frozen=True)
class Intent:
    """What customers want, and the sentences in which they say so, by split."""

    label: str
    group: str
    gloss: str
    sentences: Mapping[str, tuple[str, ...]]


def _load() -> Mapping[str, Intent]:
    text = files("progym.envs.worlds").joinpath("intents.toml").read_text("utf-8")
    return {
        label: Intent(
            label=label,
            group=entry["group"],
            gloss=entry["gloss"],
            sentences={split: tuple(entry[split]) for split in SPLITS},
        )
        for label, entry in tomllib.loads(text).items()
    }


INTENTS: Mapping[str, Intent] = _load()
LABELS: tuple[str, ...] = tuple(INTENTS)
"""The 77 labels in the data set's order."""
GLOSSES: Mapping[str, str] = {label: intent.gloss for label, intent in INTENTS.items()}
"""What each label means, in a few plain words."""
GROUPS: Mapping[str, str] = {label: intent.group for label, intent in INTENTS.items()}
"""The topic of each label; twelve in all."""


def world(split: str, world_seed: int = 0, size: int | None = None) -> TaskData:
    """Give a split's messages and their fingerprint."""
    return TaskData(intents(split, world_seed, size), fingerprint(split, world_seed, size))


def intents(split: str, world_seed: int = 0, size: int | None = None) -> Examples:
    """Give a split's messages, made when asked for; every block of 77 holds each label once."""
    return make_examples(_make_example, split, world_seed, size_of(split, world_seed, size))


def message(label: str, split: str, world_seed: int, index: int) -> str:
    """Write message `index` of a split for a label."""
    rng = generator(WORLD, world_seed, split, index)
    sentences = INTENTS[label].sentences[split]
    text = compose(sentences[int(rng.integers(len(sentences)))], split, rng)
    return mistype(text, rng) if rng.random() < TYPO_RATE else text


def fingerprint(split: str, world_seed: int = 0, size: int | None = None) -> str:
    """Name the content of a split: version, seed, split and size."""
    text = f"{WORLD}|{VERSION}|{world_seed}|{split}|{size_of(split, world_seed, size)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _make_example(split: str, world_seed: int, index: int) -> Example:
    block, place = divmod(index, len(LABELS))
    label = LABELS[_label_order(split, world_seed, block)[place]]
    text = message(label, split, world_seed, index)
    return Example(id=example_id(split, index), inputs={"text": text}, gold={"label": label})


@lru_cache(maxsize=1024)
def _label_order(split: str, world_seed: int, block: int) -> tuple[int, ...]:
    rng = generator(WORLD, world_seed, split, "labels", block)
    return tuple(int(position) for position in rng.permutation(len(LABELS)))
