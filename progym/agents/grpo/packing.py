"""Packing: sequences that begin alike share the tokens they have in common, as a tree.

Sorted sequences are laid out depth first, so that a token's subtree is a stretch of the layout:
token j may be seen from token i exactly if j <= i < end of j's subtree. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise


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


def pack(sequences: Sequence[Sequence[int]], *, square: float, limit: int = 4096) -> list[Pack]:
    """Lay sequences out in trees, cut where that costs least.

    Args:
        sequences: Token ids; equal sequences share everything.
        square: A tree of n tokens costs n + n * n / square: small trees share less, large ones
            attend more.
        limit: The most tokens of a tree; a longer sequence has one to itself.
    """
    order = sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))
    ranked = [sequences[index] for index in order]
    shared = [0, *(_common(one, other) for one, other in pairwise(ranked))]
    packs: list[Pack] = []
    for start, stop in _cut([len(s) for s in ranked], shared, square, limit):
        packs.append(Pack())
        path: list[int] = []
        for rank in range(start, stop):
            common = shared[rank] if rank > start else 0
            path = packs[-1].add(order[rank], ranked[rank], path, common)
        packs[-1].close(path)
    return packs


def _cut(
    lengths: Sequence[int], shared: Sequence[int], square: float, limit: int
) -> list[tuple[int, int]]:
    """Split ranked sequences into stretches of least cost, by dynamic programming."""
    least, begins = [0.0], [0]
    for stop in range(1, len(lengths) + 1):
        best, begin, new = float("inf"), stop - 1, 0
        for start in range(stop - 1, -1, -1):
            size = lengths[start] + new
            if size > limit and start < stop - 1:
                break
            cost = least[start] + size + size * size / square
            if cost < best:
                best, begin = cost, start
            new += lengths[start] - shared[start]
        least.append(best)
        begins.append(begin)
    stretches: list[tuple[int, int]] = []
    stop = len(lengths)
    while stop:
        stretches.append((begins[stop], stop))
        stop = begins[stop]
    return stretches[::-1]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))
