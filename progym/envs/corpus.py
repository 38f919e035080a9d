"""A corpus: titled passages that a retriever searches and a program shows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache


@dataclass(frozen=True)
class Passage:
    """A titled text; titles are unique in a corpus and in Unicode NFC."""

    title: str
    text: str


@dataclass(frozen=True, eq=False)
class Corpus:
    """Passages in a fixed order, found by title."""

    passages: tuple[Passage, ...]
    fingerprint: str
    """Names the content: equal fingerprints, equal passages; keys the index kept on disk."""

    def show(self, titles: Iterable[str]) -> tuple[str, ...]:
        """Give passages as prompt items, `title | text`."""
        return tuple(map(self._shown.__getitem__, titles))

    @cached_property
    def _shown(self) -> Mapping[str, str]:
        return {passage.title: f"{passage.title} | {passage.text}" for passage in self.passages}


@lru_cache(maxsize=100_000)  # the titles that scores compare are the same ones again and again
def normalize_title(title: str) -> str:
    """Bring a title to the form titles are compared in."""
    return unicodedata.normalize("NFC", title).strip()
