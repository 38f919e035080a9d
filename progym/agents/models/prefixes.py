"""What token sequences begin with in common. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

SHORTEST = 16
"""Tokens that must be shared before a forward pass of their own pays."""


def shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the tokens that both begin with."""
    most = min(len(one), len(other))
    return next((place for place in range(most) if one[place] != other[place]), most)


def common_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """Count the tokens all prompts begin with, leaving each at least one; 0 if it would not pay."""
    shared = shared_length(min(prompts), max(prompts))  # what these two share, all share
    shared = min(shared, min(map(len, prompts)) - 1)
    return shared if shared >= SHORTEST else 0
