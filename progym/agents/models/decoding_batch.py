"""Rows that are decoded together: finished ones leave, others take their room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from progym.agents.models.kv_buffer import KVBuffer
from progym.agents.models.prefill import Prefilled, Row
from progym.agents.models.prompt_passes import run_model
from progym.agents.models.shared_attention import Step
from progym.agents.models.shared_keys import SharedKeys, append
from progym.agents.models.token_draws import choose_tokens


class DecodingBatch:
    """A batch between two steps; whatever has rows has one for each that is still decoded.

    Args:
        places: What the caller knows the rows by.
        rows: The rows.
        start: Their prompts, computed.
        room: The most tokens that are drawn for a row.
    """

    def __init__(
        self, places: Sequence[int], rows: Sequence[Row], start: Prefilled, room: int
    ) -> None:
        self.places, self._room = list(places), room
        self._logits, self._mask, self._shared = start.logits, start.mask, start.shared
        if start.buffer is None:
            assert start.shared is not None
            like = start.shared[-1].layers
            self._buffer = KVBuffer(like, rows=len(rows), columns=0, room=room)
        else:
            self._buffer = start.buffer
        self._cache = self._buffer.cache()
        self._uniforms, self._lengths = self._draw_uniforms(rows), self._count_tokens(rows)
        self._drawn = torch.zeros_like(self._lengths)
        self.longest = 0
        """Tokens drawn for the row that has most."""
        self._is_even = True  # whether all have as many

    def draw(self, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Pick a token for each row; gives ids and log-probabilities, (rows,)."""
        uniforms = self._uniforms.gather(1, self._drawn[:, None])[:, 0]
        self._drawn, self.longest = self._drawn + 1, self.longest + 1
        return choose_tokens(self._logits, uniforms, temperature)

    def keep(self, rows: Sequence[int]) -> torch.Tensor:
        """Drop all other rows, by their positions; gives the kept ones as an index."""
        index = torch.tensor(rows, device=self._lengths.device)
        self.places = [self.places[row] for row in rows]
        self._cache.batch_select_indices(index)
        self._logits, self._drawn = self._logits[index], self._drawn[index]
        self._uniforms, self._lengths = self._uniforms[index], self._lengths[index]
        if self._mask is not None:
            self._mask = self._mask[index]
        if self._shared is not None:
            self._shared = [left for one in self._shared if (left := one.keep(rows))]
        self.longest = int(self._drawn.max())
        self._is_even = int(self._drawn.min()) == self.longest
        return index

    def advance(self, model: Any, tokens: torch.Tensor) -> None:
        """Compute the drawn tokens, (rows,)."""
        self._logits = run_model(
            model,
            tokens[:, None],
            self._lengths[:, None],
            self._cache,
            mask=None if self._mask is None else self._mask[:, : self._buffer.used + 1],
            shared=None if self._shared is None else self._begin_step(self._shared),
        )
        self._lengths = self._lengths + 1

    def tokens_kept(self) -> int:
        """Count the tokens for whose keys and values memory is taken, of a batch that shares."""
        assert self._shared is not None
        shared = sum(one.columns * len(one.counts) for one in self._shared)
        return shared + len(self.places) * self._room

    def join(self, places: Sequence[int], rows: Sequence[Row], start: Prefilled) -> None:
        """Take in rows for which nothing was drawn yet; all prompts are shared ones."""
        assert self._shared is not None
        assert start.shared is not None
        below = [replace(one, start=len(self.places) + one.start) for one in start.shared]
        self._shared = append(self._shared, below)
        self._buffer.extend(len(rows))
        self.places += places
        self._logits = torch.cat([self._logits, start.logits])
        self._uniforms = torch.cat([self._uniforms, self._draw_uniforms(rows)])
        self._lengths = torch.cat([self._lengths, self._count_tokens(rows)])
        self._drawn = torch.cat([self._drawn, self._drawn.new_zeros(len(rows))])
        self._is_even = self.longest == 0

    def _begin_step(self, shared: Sequence[SharedKeys]) -> Step:
        """Give each row's token the column after its last one, and hide those that it has not."""
        if self._is_even:
            self._buffer.begin_step(self.longest - 1, None)
            return Step(shared, None)
        self._buffer.begin_step(self.longest - 1, self._drawn - 1)
        order = torch.arange(self.longest, device=self._drawn.device)
        return Step(shared, (order < self._drawn[:, None])[:, None, None])

    def _draw_uniforms(self, rows: Sequence[Row]) -> torch.Tensor:
        uniforms = np.stack([np.random.default_rng(row.seed).random(self._room) for row in rows])
        return torch.from_numpy(uniforms).to(self._logits.device)  # (rows, room)

    def _count_tokens(self, rows: Sequence[Row]) -> torch.Tensor:
        return torch.tensor([len(row.prompt) for row in rows], device=self._logits.device)
