"""Keys and values that rows look at while they decode: of what all begin with, and of prompts.

Reading keys is what a decoding step costs. Those of a beginning are read once for all rows, those
of a prompt once for all its completions, and a row has only what it wrote to itself. One softmax
over all of it is put together exactly from one over each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch.nn.functional import pad

_ALIKE = 0.75
"""Sequences of at least this share of others' columns stand in one product with them."""

KeysValues = tuple[torch.Tensor, torch.Tensor]
Layers = list[KeysValues]


@dataclass(frozen=True)
class SharedKeys:
    """Keys and values of some token sequences, each for consecutive rows of a batch."""

    layers: Sequence[KeysValues]  # by layer, (sequences, key heads, columns, size)
    start: int
    """The first row of the batch that looks at them."""
    counts: Sequence[int]
    """How many rows look at each sequence."""
    mask: torch.Tensor | None = None  # (sequences, 1, 1, columns), False where hidden

    @property
    def columns(self) -> int:
        """How many keys there are of each sequence, hidden ones included."""
        return self.layers[0][0].shape[2]

    @property
    def stop(self) -> int:
        """The row after the last that looks at them."""
        return self.start + sum(self.counts)

    def keep(self, rows: Sequence[int]) -> SharedKeys | None:
        """Shrink to the rows of the batch that are kept, in order; None if none of these is."""
        owners = [place for place, count in enumerate(self.counts) for _ in range(count)]
        mine = [owners[row - self.start] for row in rows if self.start <= row < self.stop]
        if not mine:
            return None
        left = sorted(set(mine))
        start, counts = sum(row < self.start for row in rows), [mine.count(place) for place in left]
        if len(left) == len(self.counts):
            return replace(self, start=start, counts=counts)
        index = torch.tensor(left, device=self.layers[0][0].device)
        layers = [(keys[index], values[index]) for keys, values in self.layers]
        return SharedKeys(layers, start, counts, None if self.mask is None else self.mask[index])

    @cached_property
    def _slots(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Spread the rows so that each sequence has as many; gives each slot's row, and back.

        None where they are spread so.
        """
        most, slots, filled, first = max(self.counts), list[int](), list[int](), 0
        if most == min(self.counts):
            return None
        for place, count in enumerate(self.counts):
            slots += [first + min(number, count - 1) for number in range(most)]
            filled += [place * most + number for number in range(count)]
            first += count
        device = self.layers[0][0].device
        return torch.tensor(slots, device=device), torch.tensor(filled, device=device)

    def attend(self, query: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Average the values for the rows that look at them; gives the softmax's log-sums, too.

        Args:
            query: Of these rows, scaled, (rows, key heads, group, size).
            layer: Of the model.
        """
        keys, values = self.layers[layer]
        if self._slots is not None:
            query = query[self._slots[0]]
        count, (heads, group, size) = len(keys), query.shape[1:]
        pooled = query.view(count, -1, heads, group, size).transpose(1, 2)
        scores = pooled.reshape(count, heads, -1, size) @ keys.transpose(-1, -2)
        output, weight = (
            part.view(count, heads, -1, group, part.shape[-1]).transpose(1, 2).flatten(0, 1)
            for part in average(scores, values, self.mask)
        )
        if self._slots is not None:
            return output[self._slots[1]], weight[self._slots[1]]
        return output, weight


def append(parts: Sequence[SharedKeys], more: Sequence[SharedKeys]) -> list[SharedKeys]:
    """Add what further rows look at; a head that rows before them look at stays one product."""
    found = list(parts)
    for one in more:
        for place, old in enumerate(found):
            is_same = old.layers is one.layers and old.stop == one.start
            if is_same and len(old.counts) == len(one.counts) == 1:
                found[place] = replace(old, counts=[old.counts[0] + one.counts[0]])
                break
        else:
            found.append(one)
    return found


def join(parts: Sequence[SharedKeys]) -> Iterator[SharedKeys]:
    """Put neighbours of about as many columns together: one product instead of several.

    Args:
        parts: In the order of their rows, each with a mask; the fewest products if the widest are
            last.
    """
    together: list[SharedKeys] = []
    for part in parts:
        if together and together[0].columns < _ALIKE * part.columns:
            yield _join(together)
            together = []
        together.append(part)
    if together:
        yield _join(together)


def _join(parts: Sequence[SharedKeys]) -> SharedKeys:
    if len(parts) == 1:
        return parts[0]
    width = max(part.columns for part in parts)
    layers = [
        (
            torch.cat([pad(keys, (0, 0, width - keys.shape[2], 0)) for keys, _ in of_parts]),
            torch.cat([pad(values, (0, 0, width - values.shape[2], 0)) for _, values in of_parts]),
        )
        for of_parts in zip(*(part.layers for part in parts), strict=True)
    ]
    masks: list[torch.Tensor] = []
    for part in parts:
        assert part.mask is not None
        masks.append(pad(part.mask, (width - part.columns, 0), value=False))
    counts = [count for part in parts for count in part.counts]
    return SharedKeys(layers, parts[0].start, counts, torch.cat(masks))


def average(
    scores: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average values by the softmax of scores; gives that and log(sum(exp(scores)))."""
    if mask is not None:
        scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    top = scores.amax(-1, keepdim=True)
    # The fused softmax keeps its sum to itself, but the largest weight is exp(0) / sum. A plain exp
    # is slow on the CPU where it underflows, which it does wherever the mask hides something.
    weights = scores.softmax(-1)
    return weights @ values, top - weights.amax(-1, keepdim=True).log()
