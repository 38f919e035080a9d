"""Packing: sequences that begin alike share the tokens they have in common, as a tree.

Sorted sequences are laid out depth first, so that a token's subtree is a stretch of the layout:
token j may be seen from token i exactly if j <= i < end of j's subtree. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pack:
    """One tree, flattened: what a single forward pass computes."""

    token_ids: list[int] = field(default_factory=list[int])
    positions: list[int] = field(default_factory=list[int])
    """Depth in the tree, which is the position in every sequence that runs through it."""
    ends: list[int] = field(default_factory=list[int])
    """Where the subtree of each token ends (exclusive)."""
    paths: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    """For each sequence, by its index, the places of its tokens in the layout."""

    def add(self, index: int, sequence: Sequence[int], path: list[int], shared: int) -> list[int]:
        """Append a sequence that shares its first tokens with the one on `path`."""
        size = len(self.token_ids)
        for place in path[shared:]:
            self.ends[place] = size
        new = sequence[shared:]
        self.token_ids.extend(new)
        self.positions.extend(range(shared, len(sequence)))
        self.ends.extend([-1] * len(new))
        self.paths[index] = path[:shared] + list(range(size, size + len(new)))
        return self.paths[index]

    def close(self, path: list[int]) -> None:
        """End the subtrees that are still open."""
        for place in path:
            self.ends[place] = len(self.token_ids)


def pack(sequences: Sequence[Sequence[int]], limit: int) -> list[Pack]:
    """Lay sequences out in trees of at most `limit` tokens; a longer sequence has one to itself."""
    packs: list[Pack] = []
    path: list[int] = []
    before: Sequence[int] = ()
    for index in sorted(range(len(sequences)), key=lambda i: tuple(sequences[i])):
        sequence = sequences[index]
        shared = _common(before, sequence) if packs else 0
        if not packs or len(packs[-1].token_ids) + len(sequence) - shared > limit:
            if packs:
                packs[-1].close(path)
            packs.append(Pack())
            path, shared = [], 0
        path = packs[-1].add(index, sequence, path, shared)
        before = sequence
    if packs:
        packs[-1].close(path)
    return packs


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    for place, (a, b) in enumerate(zip(one, other)):  # noqa: B905 - the shorter one ends it
        if a != b:
            return place
    return min(len(one), len(other))
