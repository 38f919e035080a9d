"""Rows that wait for room in a batch: which come first, and how many fit."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Hashable, Sequence

from progym.agents.models.prefill import Row, about


class WaitingRows:
    """Hands out rows by their places; what shares a head, and then a prompt, stays together.

    Prompts that about as many rows want stand together: they are read in one product.

    Args:
        rows: All of them.
        share: Whether the model keeps heads, and equal prompts, once.
    """

    def __init__(self, rows: Sequence[Row], *, share: bool) -> None:
        self._rows, self._share = rows, share
        heads = {head: i for i, head in enumerate(dict.fromkeys(row.head for row in rows))}
        wanted = Counter(row.prompt for row in rows)
        keys = [(heads[r.head], -about(wanted[r.prompt]), len(r.prompt), r.prompt) for r in rows]
        self._places = deque(sorted(range(len(rows)), key=keys.__getitem__))

    def __bool__(self) -> bool:
        return bool(self._places)

    def take(
        self, tokens: int, columns: int, *, least: int, held: Collection[Hashable] = ()
    ) -> list[int]:
        """Give the next rows for whose keys there is memory.

        Args:
            tokens: Of which keys and values fit.
            columns: That a row has to itself, for what it writes.
            least: Rows to give, if there are as many, whether they fit or not.
            held: Heads whose keys are there already.
        """
        taken: list[int] = []
        heads = set(held)
        longest = prompts = used = 0
        while self._places:
            row = self._rows[self._places[0]]
            head = len(row.head_ids) if self._share else 0
            used += 0 if row.head in heads else head
            longest = max(longest, len(row.prompt) - head)
            same = bool(taken) and self._rows[taken[-1]].prompt == row.prompt
            prompts += not (self._share and same)
            needed = used + prompts * longest + (len(taken) + 1) * columns
            if needed > tokens and len(taken) >= least:
                break
            heads.add(row.head)
            taken.append(self._places.popleft())
        return taken
