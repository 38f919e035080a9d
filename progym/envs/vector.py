"""Several program environments stepped together, for `gymnasium.make_vec`."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
from gymnasium.vector import SyncVectorEnv


def make_vector(env_id: str, num_envs: int = 1, **kwargs: Any) -> SyncVectorEnv:
    """Make `num_envs` environments whose observations, texts, come as a tuple."""
    make = partial(gymnasium.make, env_id, **kwargs)
    return SyncVectorEnv([make for _ in range(num_envs)])
