"""Several program environments stepped together, for `gymnasium.make_vec`.

Gymnasium does not tell a vector entry point which id it is asked for, so every id is an attribute
of this module: `vector_entry_point="progym.envs.vector:HoVer4Hop-v0"`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
from gymnasium.vector import SyncVectorEnv


def make_vector(env_id: str, num_envs: int = 1, **kwargs: Any) -> SyncVectorEnv:
    """Make `num_envs` environments whose observations, texts, come as a tuple."""
    make = partial(gymnasium.make, env_id, **kwargs)
    return SyncVectorEnv([make for _ in range(num_envs)])


def __getattr__(name: str) -> Callable[..., SyncVectorEnv]:
    if "-v" not in name:
        raise AttributeError(f"{__name__} has no {name!r}; an id reads like 'HoVer4Hop-v0'.")
    return partial(make_vector, name)
