"""The encyclopedia world: short articles, and claims that only four of them together can settle.

A claim names the first article and three relations; each article names the next one only in its
text. Every (split, world seed) has an encyclopedia of its own, made when it is asked for. Titles
recur over splits and seeds; facts, chains, articles and phrasings never recur in another split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property, lru_cache

import numpy as np

from progym.envs.corpus import Corpus, Passage
from progym.envs.errors import BadValue, unknown
from progym.envs.examples import Examples
from progym.envs.program import Example
from progym.envs.sources.data import TaskData
from progym.envs.worlds.encyclopedia_facts import Entity, Facts, draw_facts
from progym.envs.worlds.encyclopedia_grammar import Relation, fill, load_grammar
from progym.envs.worlds.seeding import SPLITS, example_id, generator, make_examples, size_of

WORLD = "encyclopedia"
VERSION = 3
"""Goes up with any change of the world's content, once released with the environment's `-v`."""

_MANY = 1 << 30  # a draw below this, modulo a number of patterns, is even enough


def world(split: str, world_seed: int = 0, size: int | None = None) -> TaskData:
    """Give a split's claims, the articles to search, and their fingerprint."""
    size = size_of(split, world_seed, size)
    made = encyclopedia(split, world_seed)
    return TaskData(made.examples(size), made.fingerprint(size), made.corpus)


@lru_cache(maxsize=16)
def encyclopedia(split: str, world_seed: int = 0) -> Encyclopedia:
    """Get the encyclopedia of a split; raises UnknownName for a split that there isn't."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return Encyclopedia(split, world_seed)


class Encyclopedia:
    """One split's articles and examples; get it by `encyclopedia(split, world_seed)`."""

    def __init__(self, split: str, world_seed: int) -> None:
        self.split, self.world_seed = split, world_seed

    @cached_property
    def facts(self) -> Facts:
        """What the articles tell and the claims ask."""
        return draw_facts(load_grammar(), self.split, self._generator("facts"))

    @cached_property
    def corpus(self) -> Corpus:
        """The articles, in random order."""
        rng = self._generator("articles")
        articles = self._write_articles(rng)
        order: list[int] = rng.permutation(len(articles)).tolist()
        passages = tuple(articles[position] for position in order)
        digest = hashlib.sha256(f"{WORLD} {VERSION}".encode())
        for passage in passages:
            digest.update(f"\n{passage.title}\t{passage.text}".encode())
        return Corpus(passages, digest.hexdigest())

    def examples(self, size: int | None = None) -> Examples:
        """Give the first `size` examples (default: SIZES); example i is the same in all sizes."""
        size = size_of(self.split, self.world_seed, size)
        if size > len(self.facts.chains):
            raise BadValue(
                f"size must be 1 to {len(self.facts.chains)} for split {self.split!r} "
                f"of world seed {self.world_seed}, got {size}."
            )
        return make_examples(_make_example, self.split, self.world_seed, size)

    def example(self, position: int) -> Example:
        """Make one example: the claim, and the titles and facts that the gold policy needs."""
        grammar, entities = load_grammar(), self.facts.entities
        chain: list[int] = self.facts.chains[position].tolist()
        met = [entities[number] for number in chain[::2]]
        relations = [
            grammar.relations_of(entity.kind)[slot]
            for entity, slot in zip(met, chain[1::2], strict=False)
        ]
        return Example(
            id=example_id(self.split, position),
            inputs={"claim": self._write_claim(position, met, relations)},
            gold={
                "titles": [entity.title for entity in met],
                "facts": [
                    f"the {relation.noun} of {here.title} is {there.title}"
                    for relation, here, there in zip(relations, met, met[1:], strict=False)
                ],
            },
        )

    def fingerprint(self, size: int | None = None) -> str:
        """Name the content of the split at a size, articles and claims."""
        text = f"{self.corpus.fingerprint} {size_of(self.split, self.world_seed, size)}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _write_articles(self, rng: np.random.Generator) -> list[Passage]:
        facts = self.facts
        # One draw for all: each article's patterns, and the order in which it tells its relations.
        shape = facts.targets.shape
        openings: list[int] = rng.integers(0, _MANY, len(facts.entities)).tolist()
        patterns: list[list[int]] = rng.integers(0, _MANY, shape).tolist()
        orders: list[list[int]] = rng.random(shape).argsort(axis=1).tolist()
        targets: list[list[int]] = facts.targets.tolist()
        passages: list[Passage] = []
        for number, entity in enumerate(facts.entities):
            told = [
                (slot, patterns[number][slot], facts.entities[targets[number][slot]])
                for slot in orders[number]
                if targets[number][slot] >= 0
            ]
            sentences = [self._open(entity, openings[number]), *self._tell(entity, told)]
            passages.append(Passage(entity.title, " ".join(sentences)))
        return passages

    def _open(self, entity: Entity, pick: int) -> str:
        patterns = load_grammar().openings[self.split]
        return fill(
            patterns[pick % len(patterns)],
            T=entity.title,
            kind=entity.kind,
            adj=entity.adjective,
            feature=entity.feature,
        )

    def _tell(self, entity: Entity, told: list[tuple[int, int, Entity]]) -> Iterator[str]:
        relations = load_grammar().relations_of(entity.kind)
        for slot, pick, target in told:
            patterns = relations[slot].sentences[self.split]
            yield fill(patterns[pick % len(patterns)], m=entity.short, O=target.title)

    def _write_claim(self, position: int, met: list[Entity], relations: list[Relation]) -> str:
        grammar, rng = load_grammar(), self._generator("claim", position)
        patterns = grammar.claims[self.split]
        ends = grammar.properties
        pattern = patterns[int(rng.integers(len(patterns)))]
        end = ends[int(rng.integers(len(ends)))]
        first, second, third = (relation.noun for relation in relations)
        return fill(
            pattern,
            T=met[0].title,
            first=first,
            second=second,
            third=third,
            property=fill(end, adj=met[-1].adjective, feature=met[-1].feature),
        )

    def _generator(self, *keys: int | str) -> np.random.Generator:
        return generator(WORLD, self.world_seed, self.split, *keys)


def _make_example(split: str, world_seed: int, position: int) -> Example:
    return encyclopedia(split, world_seed).example(position)
