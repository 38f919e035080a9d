"""Seeds of the worlds: example i comes from (world, world seed, split, i) and from nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import numpy as np

from progym.envs.errors import BadValue, unknown
from progym.envs.examples import Examples
from progym.envs.program import Example

SIZES: Mapping[str, int] = {"train": 500, "val": 100, "test": 200, "pretrain": 20_000}
"""Examples of a split where no size is asked for."""
SPLITS = tuple(SIZES)
"""What every world offers; "pretrain" is what the tiny LM learnt from, disjoint from the rest."""


def generator(world: str, world_seed: int, split: str, *keys: int | str) -> np.random.Generator:
    """Make the random generator of one thing in a world; equal keys, equal stream."""
    text = "|".join(str(key) for key in (world, world_seed, split, *keys))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def size_of(split: str, world_seed: int, size: int | None) -> int:
    """Give a split's size, its default for None; raises for what no world has."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    # Equal numbers of other types would share caches with a whole number, but not its seeds.
    if type(world_seed) is not int:
        raise BadValue(f"world_seed must be a whole number, got {world_seed!r}.")
    if size is None:
        return SIZES[split]
    if type(size) is not int or size < 1:
        raise BadValue(
            f"size must be a whole number, 1 or more, got {size!r}. "
            f"Leave it out for {SIZES[split]}."
        )
    return size


def example_id(split: str, position: int) -> str:
    """Name an example."""
    return f"{split}-{position:05d}"


@lru_cache(maxsize=64)
def make_examples(
    make: Callable[[str, int, int], Example], split: str, world_seed: int, size: int
) -> Examples:
    """Give a split's examples, each made by `make(split, world_seed, i)` when it is asked for."""
    ids = [example_id(split, position) for position in range(size)]
    return Examples(ids, partial(make, split, world_seed))
