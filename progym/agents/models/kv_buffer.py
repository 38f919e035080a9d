"""A key-value cache with room set aside: a decoding step copies one token, not the whole cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from progym.agents.models.shared_keys import KeysValues
from progym.envs.errors import BadValue


class _BufferedLayer(DynamicLayer):
    """One layer whose keys and values are written in place, into (rows, heads, columns, size)."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, used: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys: torch.Tensor = keys
        self.values: torch.Tensor = values
        self._used = used
        self._places: torch.Tensor | None = None

    def begin_step(self, used: int, places: torch.Tensor | None) -> None:
        """See KVBuffer."""
        self._used, self._places = used, places

    def extend(self, rows: int) -> None:
        """See KVBuffer."""
        self.keys, self.values = (
            torch.cat([one, one.new_zeros(rows, *one.shape[1:])])
            for one in (self.keys, self.values)
        )

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,  # noqa: ARG002 - what other caches take
        **kwargs: Any,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start, self._used = self._used, self._used + key_states.shape[-2]
        assert self._places is None or key_states.shape[-2] == 1
        if self._places is None:
            self.keys[:, :, start : self._used] = key_states
            self.values[:, :, start : self._used] = value_states
        else:
            rows = torch.arange(len(self._places), device=self._places.device)
            self.keys[rows, :, self._places] = key_states[:, :, 0]
            self.values[rows, :, self._places] = value_states[:, :, 0]
        return self.keys[:, :, : self._used], self.values[:, :, : self._used]

    def get_seq_length(self) -> int:
        return self._used

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        # That of transformers leaves the rows as they are while no column is used.
        self.keys, self.values = self.keys[indices], self.values[indices]


class KVBuffer:
    """The cache of a decoding batch: prompts may be copied into it, then it grows a column a step.

    Args:
        like: Keys and values by layer, whose heads and sizes it has.
        rows: Sequences in the batch.
        columns: Columns that prompts may fill; a row's unused ones have to be masked.
        room: Columns to decode into.
    """

    def __init__(
        self,
        like: Sequence[KeysValues],
        *,
        rows: int,
        columns: int,
        room: int,
    ) -> None:
        def empty(one: torch.Tensor) -> torch.Tensor:
            return one.new_zeros((rows, one.shape[1], columns + room, one.shape[3]))

        self._columns = columns
        self._layers = [
            _BufferedLayer(empty(keys), empty(values), columns) for keys, values in like
        ]

    def fill(
        self,
        rows: Sequence[int],
        contents: Sequence[KeysValues],
        sources: Sequence[int],
    ) -> None:
        """Copy rows `sources` of some keys and values to rows of the buffer, before the room."""
        to, at = torch.tensor(rows), torch.tensor(sources)
        for own, (keys, values) in zip(self._layers, contents, strict=True):
            place = slice(self._columns - keys.shape[2], self._columns)
            own.keys[to, :, place] = keys[at]
            own.values[to, :, place] = values[at]

    @property
    def used(self) -> int:
        """How many columns are in use."""
        return self._layers[0].get_seq_length()

    def begin_step(self, used: int, places: torch.Tensor | None) -> None:
        """Say where the next token of each row goes, if not to the next column.

        Args:
            used: Columns in use so far, by the row that uses most.
            places: Each row's own next column, (rows,); None where all are at the next.
        """
        for layer in self._layers:
            layer.begin_step(used, places)

    def extend(self, rows: int) -> None:
        """Add rows below, with nothing in them."""
        for layer in self._layers:
            layer.extend(rows)

    def cache(self) -> Cache:
        """Give the buffer in the form that models take; it decodes into the room set aside."""
        return Cache(layers=list(self._layers))


def contents_of(cache: Cache) -> list[KeysValues]:
    """Give a cache's keys and values by layer; raises BadValue where it holds other state."""
    contents: list[KeysValues] = []
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            raise BadValue(
                f"This model keeps a {type(layer).__name__}, not plain keys and values, which "
                "sampling here can't batch. Serve the model and use an endpoint."
            )
        contents.append((layer.keys, layer.values))
    return contents
