"""The sampling loop: rows draw from streams of their own, finished rows leave the batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from progym.agents.model import Sampling
from progym.agents.models.prefill import Keep, Prefilled, Row, about, keep_nothing, prefill
from progym.agents.models.prefill_apart import prefill_apart
from progym.agents.models.prompt_passes import run_model
from progym.agents.models.shared_attention import sharing
from progym.agents.models.token_draws import draw_tokens
from progym.envs.errors import BadValue

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
        max_tokens: The most tokens of which one batch keeps keys and values.
        keep: Keeps what prompts begin with from one batch to the next.
    """
    results = [Sampled() for _ in rows]
    room = sampling.max_completion_length
    with sharing(model) as share:
        for batch in _split(rows, room, max_tokens, share=share):
            chosen = [rows[i] for i in batch]
            state = _State(  # alone holds what is prefilled, so that dropped rows are gone
                chosen,
                prefill(model, chosen, room, keep) if share else prefill_apart(model, chosen, room),
                room,
            )
            _decode(model, state, sampling, eos_ids, [results[i] for i in batch])
            del state
    return results


def _split(rows: Sequence[Row], room: int, max_tokens: int, *, share: bool) -> Iterator[list[int]]:
    """Cut rows into batches; what shares a head, and then a prompt, stays together.

    Prompts that about as many rows want stand together: they are read in one product.
    """
    heads = {head: i for i, head in enumerate(dict.fromkeys(row.head for row in rows))}
    wanted = Counter(row.prompt for row in rows)
    keys = [(heads[r.head], -about(wanted[r.prompt]), len(r.prompt), r.prompt) for r in rows]
    order = sorted(range(len(rows)), key=keys.__getitem__)
    batch: list[int] = []
    longest = prompts = 0
    for i in order:
        prompt = rows[i].prompt
        longest = max(longest, len(prompt))
        prompts += not (share and batch and rows[batch[-1]].prompt == prompt)
        if batch and prompts * longest + (len(batch) + 1) * room > max_tokens:
            yield batch
            batch, longest, prompts = [], len(prompt), 1
        batch.append(i)
    if batch:
        yield batch


class _State:
    """A batch between two steps; every tensor has a row for every sequence still decoded."""

    def __init__(self, rows: Sequence[Row], start: Prefilled, room: int) -> None:
        self.logits, self.cache, self.mask = start.logits, start.cache, start.mask
        self.columns, self.shared = start.columns, start.shared
        device = self.logits.device
        uniforms = np.stack([np.random.default_rng(row.seed).random(room) for row in rows])
        self.uniforms = torch.from_numpy(uniforms).to(device)  # (rows, room)
        self.lengths = torch.tensor([len(row.prompt) for row in rows], device=device)

    def keep(self, rows: list[int]) -> torch.Tensor:
        """Drop all other rows; gives the kept ones as an index."""
        index = torch.tensor(rows, device=self.lengths.device)
        self.cache.batch_select_indices(index)
        self.uniforms, self.lengths = self.uniforms[index], self.lengths[index]
        if self.mask is not None:
            self.mask = self.mask[index]
        if self.shared is not None:
            self.shared = [left for one in self.shared if (left := one.keep(rows))]
        return index

    def advance(self, model: Any, tokens: torch.Tensor) -> None:
        """Compute the drawn tokens."""
        self.columns += 1
        self.logits = run_model(
            model,
            tokens[:, None],
            self.lengths[:, None],
            self.cache,
            mask=None if self.mask is None else self.mask[:, : self.columns],
            shared=self.shared,
        )
        self.lengths = self.lengths + 1


def _decode(
    model: Any,
    state: _State,
    sampling: Sampling,
    eos_ids: frozenset[int],
    results: list[Sampled],
) -> None:
    room = sampling.max_completion_length
    for step in range(room):
        tokens, logprobs = _choose(state.logits, state.uniforms[:, step], sampling.temperature)
        ids: list[int] = tokens.tolist()  # pyright: ignore[reportUnknownVariableType]
        values: list[float] = logprobs.tolist()  # pyright: ignore[reportUnknownVariableType]
        for result, token, logprob in zip(results, ids, values, strict=True):
            if not result.ended:
                result.token_ids.append(token)
                result.logprobs.append(logprob)
                result.ended = token in eos_ids
        open_rows = [i for i, result in enumerate(results) if not result.ended]
        if not open_rows or step == room - 1:
            return
        if len(open_rows) <= (1 - _DROP_SHARE) * len(results):
            results = [results[i] for i in open_rows]
            tokens = tokens[state.keep(open_rows)]
        state.advance(model, tokens)


def _choose(
    logits: torch.Tensor, uniforms: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pick a token for each row; gives ids and log-probabilities, (rows,)."""
    scaled = logits if temperature in (0, 1) else logits / temperature
    chances = scaled.softmax(-1)
    tokens = logits.argmax(-1) if temperature == 0 else draw_tokens(chances, uniforms)
    chosen = chances.gather(1, tokens[:, None])[:, 0].log()
    if not bool(chosen.isfinite().all()):
        raise BadValue("The model's logits are not numbers: its weights or its adapter are broken.")
    return tokens, chosen
