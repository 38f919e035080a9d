"""Which examples a step draws: shuffled epochs, any step computed from the seed alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from progym.agents.seeding import derive_seed
from progym.envs.errors import BadValue


def draw_examples(ids: Sequence[str], step: int, *, count: int, seed: int) -> list[str]:
    """Give the examples of a step, counted from 0; none comes twice in a step or an epoch.

    An epoch ends where fewer than `count` are left, as TRL's does; each has an order of its own.
    """
    if count > len(ids):
        raise BadValue(
            f"examples_per_step must be at most the train split's {len(ids)} examples, got {count}."
        )
    epoch, place = divmod(step, len(ids) // count)
    order = np.random.default_rng(derive_seed(seed, "epoch", epoch)).permutation(len(ids))
    return [ids[int(i)] for i in order[place * count : (place + 1) * count]]
