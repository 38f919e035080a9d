"""What is true in an encyclopedia: entities, their relations, and chains of relations.

Splits draw their titles from the same pool. What keeps them apart is that a pair of titles belongs
to one split for good (see `splits_of`), and only that split may relate the two. So no fact, no
chain and no article of one split stands in another, whatever the world seeds, and no title tells
which split it stands in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
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
    """How its article goes on to call it: "Arvo" for "New Arvo", a person by the last name."""
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
    names: list[np.ndarray] = []
    members: dict[str, range] = {}
    for number, kind in enumerate(grammar.kinds):
        drawn = _draw_names(rng, number)
        members[kind.name] = range(len(entities), len(entities) + len(drawn))
        entities += _make_entities(kind, drawn, rng)
        names.append(drawn)
    named = np.concatenate(names)
    hashes = hash_titles([entity.title for entity in entities])

    def may_relate(subjects: np.ndarray, objects: np.ndarray) -> np.ndarray:
        mine = splits_of(hashes[subjects], hashes[objects]) == SPLITS.index(split)
        return mine & ~_share_name(named[subjects], named[objects])

    targets = _draw_targets(grammar, members, may_relate, rng)
    kinds = np.repeat(np.arange(len(grammar.kinds)), [len(members[k.name]) for k in grammar.kinds])
    chains = rng.permutation(_find_chains(targets, named, kinds))
    return Facts(tuple(entities), targets, chains)


def _draw_names(rng: np.random.Generator, kind: int) -> np.ndarray:
    """Draw rows of positions in NAMES: (first, last) for persons, kind 0, else (name, -1).

    No two rows have the same first position, no two persons the same last.
    """
    firsts = rng.permutation(len(NAMES))
    if kind > 0:
        return np.column_stack([firsts, np.full(len(NAMES), -1)])[:THINGS]
    lasts = rng.permutation(len(NAMES))
    return np.column_stack([firsts, lasts])[firsts != lasts][:PERSONS]


def _make_entities(kind: Kind, names: np.ndarray, rng: np.random.Generator) -> list[Entity]:
    adjectives = rng.choice(kind.adjectives, len(names)).tolist()
    features = rng.choice(kind.features, len(names)).tolist()
    entities: list[Entity] = []
    rows: list[list[int]] = names.tolist()
    for (name, last), adjective, feature in zip(rows, adjectives, features, strict=True):
        title, short = f"{kind.title} {NAMES[name]}", NAMES[name]
        if last >= 0:
            title, short = f"{title} {NAMES[last]}", NAMES[last]
        entities.append(Entity(title, kind.name, short, adjective, feature))
    return entities


def splits_of(subjects: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Give the position in SPLITS of the one split that may relate two titles, from their hashes.

    As good as random for every pair, so that a title alone says nothing about the split, and what
    one title may be related to nothing about what another may.
    """
    return ((subjects * objects) >> np.uint64(32)) % np.uint64(len(SPLITS))


def hash_titles(titles: list[str]) -> np.ndarray:
    """Give each title an odd number of 64 bits, the same in every world."""
    digests = [hashlib.sha256(title.encode()).digest()[:8] for title in titles]
    return np.frombuffer(b"".join(digests), dtype="<u8") | np.uint64(1)


def _draw_targets(
    grammar: Grammar,
    members: dict[str, range],
    may_relate: Callable[[np.ndarray, np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    targets = np.full((sum(map(len, members.values())), SLOTS), -1)
    for kind in grammar.kinds:
        sources = np.array(members[kind.name])
        for slot, relation in enumerate(grammar.relations_of(kind.name)):
            pool = members[relation.to]
            # Each draws from the pool until it meets one that it may be related to.
            missing = sources
            while missing.size:
                targets[missing, slot] = rng.integers(pool.start, pool.stop, missing.size)
                missing = missing[~may_relate(missing, targets[missing, slot])]
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
