"""What is true in an encyclopedia: entities, their relations, and chains of relations.

Titles are dealt to the splits once and for all: no title of one split stands in another, whatever
the world seed. So no fact and no chain can.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from progym.envs.worlds.encyclopedia_grammar import Grammar, Kind
from progym.envs.worlds.names import NAMES
from progym.envs.worlds.seeding import SPLITS

PERSONS, THINGS = 700, 140  # things of each other kind
SLOTS = 3  # the most relations that a kind has
HOPS = 3  # relations in a chain


@dataclass(frozen=True)
class Entity:
    """Something with an article of its own."""

    title: str
    kind: str
    short: str
    """How its article goes on to call it: "Arvo" for "Arvo Guild", a person by the last name."""
    adjective: str
    feature: str


@dataclass(frozen=True, eq=False)
class Facts:
    """Entities and their relations.

    `targets[i, slot]` is the entity that entity i's relation number `slot` leads to, -1 for no such
    relation. A row of `chains` is (A, slot, B, slot, C, slot, D): three different relations, no
    two of the four share a name, and each article names at most the next of the other three.
    """

    entities: tuple[Entity, ...]
    targets: np.ndarray
    chains: np.ndarray


def draw_facts(grammar: Grammar, split: str, rng: np.random.Generator) -> Facts:
    """Draw the entities of a split and what relates them, chains in random order."""
    entities: list[Entity] = []
    names: list[tuple[int, int]] = []
    members: dict[str, range] = {}
    for number, kind in enumerate(grammar.kinds):
        drawn = _draw_names(number, split, rng)
        members[kind.name] = range(len(entities), len(entities) + len(drawn))
        entities += _make_entities(kind, drawn, rng)
        names += drawn
    named = np.array(names)
    targets = _draw_targets(grammar, members, named, rng)
    kinds = np.repeat(np.arange(len(grammar.kinds)), [len(members[k.name]) for k in grammar.kinds])
    chains = rng.permutation(_find_chains(targets, named, kinds))
    return Facts(tuple(entities), targets, chains)


def _draw_names(kind: int, split: str, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw positions in NAMES: (first, last) for persons, kind 0, else (name, -1)."""
    parts, part = len(SPLITS), SPLITS.index(split)
    if kind > 0:
        mine = np.arange((part + kind) % parts, len(NAMES), parts)
        return [(int(name), -1) for name in rng.permutation(mine)[:THINGS]]
    # A pair belongs to the split that its sum leaves as a remainder.
    lasts = [list(map(int, rng.permutation(np.arange(r, len(NAMES), parts)))) for r in range(parts)]
    pairs: list[tuple[int, int]] = []
    for first in map(int, rng.permutation(len(NAMES))):
        pool = lasts[(part - first) % parts]
        if pool and pool[-1] != first:
            pairs.append((first, pool.pop()))
    return pairs[:PERSONS]


def _make_entities(
    kind: Kind, names: list[tuple[int, int]], rng: np.random.Generator
) -> list[Entity]:
    adjectives = rng.choice(kind.adjectives, len(names)).tolist()
    features = rng.choice(kind.features, len(names)).tolist()
    entities: list[Entity] = []
    for (name, last), adjective, feature in zip(names, adjectives, features, strict=True):
        second, short = kind.name.capitalize(), NAMES[name]
        if last >= 0:
            second = short = NAMES[last]
        entities.append(Entity(f"{NAMES[name]} {second}", kind.name, short, adjective, feature))
    return entities


def _draw_targets(
    grammar: Grammar, members: dict[str, range], names: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    targets = np.full((len(names), SLOTS), -1)
    for kind in grammar.kinds:
        sources = np.array(members[kind.name])
        for slot, relation in enumerate(grammar.relations_of(kind.name)):
            pool = members[relation.to]
            drawn = rng.integers(pool.start, pool.stop, len(sources))
            # An entity is never related to one that it shares a name with.
            while (same := _share_name(names[sources], names[drawn])).any():
                drawn[same] = rng.integers(pool.start, pool.stop, int(same.sum()))
            targets[sources, slot] = drawn
    return targets


def _find_chains(targets: np.ndarray, names: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    chains = np.arange(len(targets))[:, None]
    for _ in range(HOPS):
        ends = targets[chains[:, -1]]  # (chains, SLOTS)
        row, slot = np.nonzero(ends >= 0)
        chains = np.column_stack([chains[row], slot, ends[row, slot]])
    met = chains[:, ::2].T  # (4, chains)
    good = np.ones(len(chains), dtype=bool)
    for i, j in combinations(range(HOPS + 1), 2):
        good &= ~_share_name(names[met[i]], names[met[j]])
        good &= ~(targets[met[j]] == met[i][:, None]).any(axis=1)
        if j > i + 1:
            good &= ~(targets[met[i]] == met[j][:, None]).any(axis=1)
    relations = kinds[met[:-1]] * SLOTS + chains[:, 1::2].T  # (3, chains)
    for i, j in combinations(range(HOPS), 2):
        good &= relations[i] != relations[j]
    return chains[good]


def _share_name(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    equal = (one[:, :, None] == other[:, None, :]) & (one[:, :, None] >= 0)
    return equal.any(axis=(1, 2))
