"""Seeds of the worlds: example i comes from (world, world seed, split, i) and from nothing else."""

from __future__ import annotations

import hashlib

import numpy as np

SPLITS = ("train", "val", "test", "pretrain")
"""What every world offers; "pretrain" is what the tiny LM learnt from, disjoint from the rest."""


def generator(world: str, world_seed: int, split: str, *keys: int | str) -> np.random.Generator:
    """Make the random generator of one thing in a world; equal keys, equal stream."""
    text = "|".join(str(key) for key in (world, world_seed, split, *keys))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))
