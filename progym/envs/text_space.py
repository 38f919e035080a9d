"""A Gymnasium space that admits any Unicode text; `spaces.Text` admits letters and digits only."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Tuple
from gymnasium.vector.utils import batch_space

_ALPHABET = np.array(
    list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:\nßøé漢🙂")
)


class TextSpace(Space[str]):
    """All Python strings. Samples are short and random, hence garbage to any program."""

    def __init__(self, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(shape=None, dtype=None, seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Draw a text of 0 to 40 characters; masks do not apply to texts."""
        if mask is not None or probability is not None:
            raise ValueError("A TextSpace takes neither a mask nor probabilities.")
        length = int(self.np_random.integers(0, 41))
        return "".join(self.np_random.choice(_ALPHABET, size=length))

    def contains(self, x: Any) -> bool:
        """Admit every `str`."""
        return isinstance(x, str)

    @property
    def is_np_flattenable(self) -> bool:
        """Texts have no array form."""
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextSpace)

    def __hash__(self) -> int:
        return hash(TextSpace)

    def __repr__(self) -> str:
        return "TextSpace()"


@batch_space.register(TextSpace)
def _batch_text_space(space: TextSpace, n: int = 1) -> Tuple[Any]:
    return Tuple(tuple(TextSpace(space.np_random) for _ in range(n)))
