"""The sampling loop: rows draw from streams of their own, finished rows make room for others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from progym.agents.model import Sampling
from progym.agents.models.decoding_batch import DecodingBatch
from progym.agents.models.prefill import Keep, Prefilled, Row, prefill
from progym.agents.models.prefill_apart import prefill_apart
from progym.agents.models.prefix_cache import PrefixCache
from progym.agents.models.shared_attention import sharing
from progym.agents.models.waiting_rows import WaitingRows

_DROP_SHARE = 0.25
"""Share of finished rows from which dropping them pays for copying the rest."""


@dataclass
class Sampled:
    """The tokens drawn for a row, the end-of-turn token included, and their log-probabilities."""

    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    ended: bool = False


@torch.inference_mode()
def sample(
    model: Any,
    rows: Sequence[Row],
    sampling: Sampling,
    *,
    eos_ids: frozenset[int],
    max_tokens: int,
    keep: Keep | None = None,
) -> list[Sampled]:
    """Draw a completion for every row.

    Args:
        model: A causal LM.
        rows: What to complete.
        sampling: How.
        eos_ids: Tokens that end a completion.
        max_tokens: The most tokens of which keys and values are kept at a time; a row that needs
            more is decoded alone.
        keep: Keeps what prompts begin with; by default until this returns.
    """
    results = [Sampled() for _ in rows]
    with sharing(model) as share:
        keep = keep or partial(PrefixCache().get, None)
        run = _Run(model, rows, sampling, eos_ids, max_tokens, keep if share else None, results)
        waiting = WaitingRows(rows, share=share)
        while waiting:
            run.decode(waiting)
    return results


@dataclass(frozen=True)
class _Run:
    """What batches have in common."""

    model: Any
    rows: Sequence[Row]
    sampling: Sampling
    eos_ids: frozenset[int]
    max_tokens: int
    keep: Keep | None  # None for models that can't share: nobody joins their batches
    results: Sequence[Sampled]

    def decode(self, waiting: WaitingRows) -> None:
        """Decode a batch until nobody is left in it."""
        room = self.sampling.max_completion_length
        places = waiting.take(self.max_tokens, room, least=1)
        chosen = [self.rows[place] for place in places]
        batch = DecodingBatch(places, chosen, self._prefill(chosen), room)
        while batch.places:
            have_left = self._step(batch)
            if have_left and batch.places and self.keep:
                self._refill(batch, waiting)

    def _prefill(self, rows: Sequence[Row]) -> Prefilled:
        if self.keep:
            return prefill(self.model, rows, self.keep)
        return prefill_apart(self.model, rows, self.sampling.max_completion_length)

    def _refill(self, batch: DecodingBatch, waiting: WaitingRows) -> None:
        """Have as many join as there is room for."""
        free, room = self.max_tokens - batch.tokens_kept(), self.sampling.max_completion_length
        held = {self.rows[place].head for place in batch.places}
        if places := waiting.take(free, room, least=0, held=held):
            chosen = [self.rows[place] for place in places]
            batch.join(places, chosen, self._prefill(chosen))

    def _step(self, batch: DecodingBatch) -> bool:
        """Draw a token for each row and compute it; tells whether rows have left."""
        tokens, logprobs = batch.draw(self.sampling.temperature)
        ids: list[int] = tokens.tolist()  # pyright: ignore[reportUnknownVariableType]
        values: list[float] = logprobs.tolist()  # pyright: ignore[reportUnknownVariableType]
        most, unfinished = self.sampling.max_completion_length, list[int]()
        for row, (place, token, logprob) in enumerate(zip(batch.places, ids, values, strict=True)):
            result = self.results[place]
            if not result.ended:
                result.token_ids.append(token)
                result.logprobs.append(logprob)
                result.ended = token in self.eos_ids
            if not result.ended and len(result.token_ids) < most:
                unfinished.append(row)
        if not unfinished:
            batch.places.clear()
            return True
        leave = batch.longest == most or len(unfinished) <= (1 - _DROP_SHARE) * len(ids)
        if leave:
            tokens = tokens[batch.keep(unfinished)]
        batch.advance(self.model, tokens)
        return leave
