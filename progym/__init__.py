"""progym: language-model programs as Gymnasium environments.

    import progym as env
    hover = env.make("HoVer4Hop-v0")

Importing this registers the environments and loads neither torch nor transformers nor datasets.
"""

from gymnasium import make, make_vec

import progym.envs.catalog  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers the ids
from progym.envs.env import ProgramEnv
from progym.envs.module import Field, Module, ask
from progym.envs.program import Example, Program, Score

__all__ = [
    "Example",
    "Field",
    "Module",
    "Program",
    "ProgramEnv",
    "Score",
    "ask",
    "make",
    "make_vec",
]
