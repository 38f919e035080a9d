"""The language of the encyclopedia, read from encyclopedia.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

_ARTICLE = re.compile(r"a/an (\w)")


@dataclass(frozen=True)
class Kind:
    """A kind of entity and the plain properties that its members may have."""

    name: str
    title: str
    """The word that the titles of its members begin with."""
    adjectives: tuple[str, ...]
    features: tuple[str, ...]


@dataclass(frozen=True)
class Relation:
    """A relation that every entity of kind `of` has to one entity of kind `to`."""

    noun: str
    of: str
    to: str
    sentences: Mapping[str, tuple[str, ...]]
    """By split: its own patterns and the split's frames, in {O} and {m}."""


@dataclass(frozen=True)
class Grammar:
    """Everything that can be said; `openings` and `claims` are patterns by split."""

    kinds: tuple[Kind, ...]
    relations: tuple[Relation, ...]
    openings: Mapping[str, tuple[str, ...]]
    claims: Mapping[str, tuple[str, ...]]
    properties: tuple[str, ...]

    def relations_of(self, kind: str) -> tuple[Relation, ...]:
        """Give the relations that entities of a kind have, in the order of their slots."""
        return self._by_kind[kind]

    @cached_property
    def _by_kind(self) -> dict[str, tuple[Relation, ...]]:
        return {
            kind.name: tuple(relation for relation in self.relations if relation.of == kind.name)
            for kind in self.kinds
        }


def fill(pattern: str, **slots: str) -> str:
    """Fill a pattern's slots; `a/an` in front of a word becomes the article that fits it."""
    text = pattern.format_map(slots)
    if "a/an" not in text:
        return text
    return _ARTICLE.sub(lambda found: _article(found.group(1)), text)


@cache
def load_grammar() -> Grammar:
    """Read the grammar that the package ships."""
    text = files("progym.envs.worlds").joinpath("encyclopedia.toml").read_text("utf-8")
    values: dict[str, Any] = tomllib.loads(text)
    return Grammar(
        kinds=tuple(
            Kind(
                name,
                kind["title"],
                tuple(values["traits"][kind["traits"]]["adjectives"]),
                tuple(values["traits"][kind["traits"]]["features"]),
            )
            for name, kind in values["kinds"].items()
        ),
        relations=tuple(_relation(row, values["frames"]) for row in values["relations"]),
        openings=_by_split(values["openings"]),
        claims=_by_split(values["claims"]),
        properties=tuple(values["properties"]),
    )


def _relation(row: dict[str, Any], frames: dict[str, list[str]]) -> Relation:
    noun: str = row["noun"]
    sentences = {
        split: (*row[split], *(frame.replace("{noun}", noun) for frame in frames[split]))
        for split in frames
    }
    return Relation(noun, row["of"], row["is"], sentences)


def _by_split(values: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {split: tuple(patterns) for split, patterns in values.items()}


def _article(letter: str) -> str:
    return f"{'an' if letter in 'aeiou' else 'a'} {letter}"
