"""Keys and values of what a module's prompts begin with, kept as long as the weights stand.

What is kept is exactly what would be computed anew, so completions are the same whether it was
there or not. Whether weights stand can't be seen (fused optimizers change them without torch's
count of changes going up), so it has to be promised: see `StandingModel`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from progym.agents.models.prompt_passes import Prompt
from progym.agents.models.shared_keys import Layers

_BYTES = 1 << 28
"""Memory for what is kept; the longest unused goes first."""


class PrefixCache:
    """What a model's prompts begin with, by adapter and tokens."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str | None, Prompt], Layers] = OrderedDict()

    def get(self, adapter: str | None, tokens: Prompt, compute: Callable[[], Layers]) -> Layers:
        """Give what is kept for an adapter and tokens, computed where it is not there."""
        key = (adapter, tokens)
        found = self._kept.pop(key, None)
        self._kept[key] = found = compute() if found is None else found
        while len(self._kept) > 1 and sum(map(_bytes_of, self._kept.values())) > _BYTES:
            self._kept.popitem(last=False)
        return found


def _bytes_of(layers: Layers) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in layers)
