"""The sampling loop: rows draw from streams of their own, finished rows make room for others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from progym.agents.model import Sampling
from progym.agents.models.decoding_batch import DecodingBatch
from progym.agents.models.prefill import Keep, Row, keep_nothing, prefill
from progym.agents.models.prefill_apart import prefill_apart
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
    keep: Keep = keep_nothing,
) -> list[Sampled]:
    """Draw a completion for every row.

    Args:
        model: A causal LM.
        rows: What to complete.
        sampling: How.
        eos_ids: Tokens that end a completion.
        max_tokens: The most tokens of which keys and values are kept at a time; a row that needs
            more is decoded alone.
        keep: Keeps what prompts begin with from one batch to the next, and for rows that join.
    """
    results = [Sampled() for _ in rows]
    room = sampling.max_completion_length

    def begin(places: list[int]) -> DecodingBatch:
        chosen = [rows[place] for place in places]
        start = prefill(model, chosen, room, keep) if share else prefill_apart(model, chosen, room)
        return DecodingBatch(places, chosen, start, room)

    with sharing(model) as share:
        waiting = WaitingRows(rows, share=share)
        while waiting:
            batch = begin(waiting.take(max_tokens, room, least=1))
            while batch.places:
                left = _step(model, batch, sampling, eos_ids, results)
                if not (left and share and batch.places):
                    continue
                free = max_tokens - batch.tokens_kept()
                if new := waiting.take(free, room, least=0):
                    batch.join(begin(new))
    return results


def _step(
    model: Any,
    batch: DecodingBatch,
    sampling: Sampling,
    eos_ids: frozenset[int],
    results: Sequence[Sampled],
) -> bool:
    """Draw a token for each row and compute it; tells whether rows have left."""
    tokens, logprobs = batch.draw(sampling.temperature)
    ids: list[int] = tokens.tolist()  # pyright: ignore[reportUnknownVariableType]
    values: list[float] = logprobs.tolist()  # pyright: ignore[reportUnknownVariableType]
    unfinished: list[int] = []
    for row, (place, token, logprob) in enumerate(zip(batch.places, ids, values, strict=True)):
        result = results[place]
        if not result.ended:
            result.token_ids.append(token)
            result.logprobs.append(logprob)
            result.ended = token in eos_ids
        if not result.ended and len(result.token_ids) < sampling.max_completion_length:
            unfinished.append(row)
    if not unfinished:
        batch.places.clear()
        return True
    full = batch.longest == sampling.max_completion_length
    leave = full or len(unfinished) <= (1 - _DROP_SHARE) * len(ids)
    if leave:
        tokens = tokens[batch.keep(unfinished)]
    batch.advance(model, tokens)
    return leave
