"""Selection: which members of a group are trained on, where there are more than it should have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from progym.agents.grpo.padding import Member

Selection = Callable[[Sequence[Member], int], list[Member]]
"""Keeps at most so many members. Pure."""


def select_k_diverse(members: Sequence[Member], size: int) -> list[Member]:
    """Keep `size` members at evenly spaced ranks of reward, lowest and highest included.

    The members stay in their order; a group that is not larger than `size` stays as it is.
    """
    count = len(members)
    if count <= size:
        return list(members)
    ranked = sorted(range(count), key=lambda position: members[position].reward)
    last = max(size - 1, 1)
    # The nearest rank to i * (count - 1) / last, in whole numbers so that no rank comes twice.
    kept = sorted(ranked[(2 * i * (count - 1) + last) // (2 * last)] for i in range(size))
    return [members[position] for position in kept]


SELECTIONS: dict[str, Selection] = {"k_diverse": select_k_diverse}
"""By the name a config gives."""
