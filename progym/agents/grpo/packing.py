"""Packing: sequences that begin alike share the tokens they have in common, as a tree.

Sorted sequences are laid out depth first, so that a token's subtree is a stretch of the layout:
token j may be seen from token i exactly if j <= i < end of j's subtree. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from progym.agents.models.prefixes import common_prefix, shared_length

Rows = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Prompt ids and completion ids of each row."""


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


@dataclass(frozen=True)
class Plan:
    """How rows are computed: what all begin with, then the rest, tree by tree."""

    head: tuple[int, ...]
    """Token ids; empty where one tree holds everything."""
    trees: Sequence[Sequence[int]]
    """The rows of each tree, by their positions; every row is in one."""


def plan_trees(rows: Rows, limit: int) -> Plan:
    """Split rows into trees of at most `limit` tokens; a longer row has one to itself.

    What all prompts begin with stands before the trees, so that no tree computes it again.
    """
    written = [row for row, (_, tokens) in enumerate(rows) if tokens]
    blank = [row for row, (_, tokens) in enumerate(rows) if not tokens]
    if not written:
        return Plan((), [blank])
    sequences = [path_of(*rows[row]) for row in written]
    trees = cut(sequences, limit)
    prompts = [tuple(rows[row][0]) for row in written]
    head = prompts[0][: common_prefix(prompts)] if len(trees) > 1 else ()
    if head:
        trees = cut([sequence[len(head) :] for sequence in sequences], limit)
    found = [[written[index] for index in tree] for tree in trees]
    found[0] += blank
    return Plan(head, found)


def path_of(prompt: Sequence[int], tokens: Sequence[int]) -> tuple[int, ...]:
    """Give the tokens a row's forward pass reads: all but the last."""
    return (*prompt, *tokens)[:-1]


def lay_out(sequences: Sequence[Sequence[int]]) -> Pack:
    """Lay sequences out as one tree; equal sequences share everything."""
    order = _rank(sequences)
    packed, path = Pack(), list[int]()
    for rank, index in enumerate(order):
        shared = shared_length(sequences[order[rank - 1]], sequences[index]) if rank else 0
        path = packed.add(index, sequences[index], path, shared)
    packed.close(path)
    return packed


def cut(sequences: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
    """Split sequences into trees of at most `limit` tokens, fewest in all; gives their indices."""
    order = _rank(sequences)
    ranked = [sequences[index] for index in order]
    shared = [0, *(shared_length(one, other) for one, other in pairwise(ranked))]
    stretches = _cut([len(sequence) for sequence in ranked], shared, limit)
    return [order[start:stop] for start, stop in stretches]


def _cut(lengths: Sequence[int], shared: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Split ranked sequences into stretches with fewest tokens, by dynamic programming."""
    least, begins = [0], [0]
    for stop in range(1, len(lengths) + 1):
        best, begin, new = least[stop - 1] + lengths[stop - 1], stop - 1, 0
        for start in range(stop - 1, -1, -1):
            size = lengths[start] + new
            if size > limit:
                break
            if least[start] + size <= best:  # of equally many, the longest stretch
                best, begin = least[start] + size, start
            new += lengths[start] - shared[start]
        least.append(best)
        begins.append(begin)
    stretches: list[tuple[int, int]] = []
    stop = len(lengths)
    while stop:
        stretches.append((begins[stop], stop))
        stop = begins[stop]
    return stretches[::-1]


def _rank(sequences: Sequence[Sequence[int]]) -> list[int]:
    return sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))
