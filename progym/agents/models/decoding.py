"""The sampling loop: shared prompts are computed once, finished rows leave the batch.

Rows of a batch are not aligned: a prompt lies in the first columns, those up to the longest prompt
are masked, and all rows decode into the columns after that. Positions are given explicitly, so gaps
change nothing. Every row draws from its own seeded stream of float64 uniforms.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import Cache, DynamicCache

from progym.agents.model import Sampling
from progym.agents.models.kv_buffer import KVBuffer, repeat_prefix
from progym.envs.errors import BadValue

_PREFILL_TOKENS = 8192
"""Prompt tokens computed at once; more gains nothing and costs memory."""
_SHORTEST_PREFIX = 16
"""Tokens that must be shared before a pass of their own pays."""
_DROP_SHARE = 0.25
"""Share of finished rows from which dropping them pays for copying the rest."""


@dataclass(frozen=True)
class Row:
    """One completion wanted; rows of equal `head` begin alike and share that prefix."""

    prompt: tuple[int, ...]
    head: Hashable
    seed: int


@dataclass
class Sampled:
    """The tokens drawn for a row, the end-of-turn token included, and their log-probabilities."""

    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    ended: bool = False


@torch.inference_mode()
def sample(
    model: Any, rows: Sequence[Row], sampling: Sampling, *, eos_ids: frozenset[int], max_tokens: int
) -> list[Sampled]:
    """Draw a completion for every row; `max_tokens` bounds the cache of one batch, in tokens."""
    results = [Sampled() for _ in rows]
    room = sampling.max_completion_length
    for batch in _split(rows, room, max_tokens):
        state = _prefill_batch(model, [rows[i] for i in batch], room)
        _decode(model, state, sampling, eos_ids, [results[i] for i in batch])
    return results


def _split(rows: Sequence[Row], room: int, max_tokens: int) -> Iterator[list[int]]:
    """Cut rows into batches; what shares a head, and then a prompt, stays together."""
    heads = {head: i for i, head in enumerate(dict.fromkeys(row.head for row in rows))}
    order = sorted(
        range(len(rows)), key=lambda i: (heads[rows[i].head], len(rows[i].prompt), rows[i].prompt)
    )
    batch: list[int] = []
    longest = 0
    for i in order:
        longest_now = max(longest, len(rows[i].prompt))
        if batch and (len(batch) + 1) * (longest_now + room) > max_tokens:
            yield batch
            batch, longest_now = [], len(rows[i].prompt)
        batch.append(i)
        longest = longest_now
    if batch:
        yield batch


@dataclass
class _State:
    """A batch between two steps; tensors have a row for every sequence still decoded."""

    logits: torch.Tensor  # (rows, vocabulary)
    cache: Cache
    mask: torch.Tensor  # (rows, columns + room), 1 where a token is or will be
    lengths: torch.Tensor  # (rows,) tokens so far
    uniforms: torch.Tensor  # (rows, room)
    columns: int  # columns in use


def _prefill_batch(model: Any, rows: Sequence[Row], room: int) -> _State:
    columns = max(len(row.prompt) for row in rows)
    buffer = KVBuffer(len(rows), columns, room)
    mask = torch.zeros(len(rows), columns + room, dtype=torch.long)
    mask[:, columns:] = 1
    logits: torch.Tensor | None = None
    for prompts in _by_head(rows):
        for chunk in _prefill(model, list(prompts)):
            pairs = [
                (row, at) for at, prompt in enumerate(chunk.prompts) for row in prompts[prompt]
            ]
            to, sources = [row for row, _ in pairs], [at for _, at in pairs]
            if logits is None:
                logits = chunk.logits.new_empty(len(rows), chunk.logits.shape[1])
            logits[to] = chunk.logits[sources]
            mask[to, : chunk.mask.shape[1]] = chunk.mask[sources]
            buffer.fill(to, chunk.cache, sources)
    assert logits is not None
    uniforms = np.stack([np.random.default_rng(row.seed).random(room) for row in rows])
    device = logits.device
    return _State(
        logits,
        buffer.cache(),
        mask.to(device),
        torch.tensor([len(row.prompt) for row in rows], device=device),
        torch.from_numpy(uniforms).to(device),
        columns,
    )


def _by_head(rows: Sequence[Row]) -> Iterator[dict[tuple[int, ...], list[int]]]:
    """Give, head by head, the distinct prompts and the rows that want each."""
    heads: dict[Hashable, dict[tuple[int, ...], list[int]]] = {}
    for i, row in enumerate(rows):
        heads.setdefault(row.head, {}).setdefault(row.prompt, []).append(i)
    yield from heads.values()


@dataclass
class _Prefilled:
    """Prompts that were computed: a row each, with a gap between prefix and suffix where masked."""

    prompts: Sequence[tuple[int, ...]]
    logits: torch.Tensor  # (prompts, vocabulary), of each prompt's last token
    cache: Cache
    mask: torch.Tensor  # (prompts, prefix + longest suffix), on the CPU


def _prefill(model: Any, prompts: Sequence[tuple[int, ...]]) -> Iterator[_Prefilled]:
    """Compute distinct prompts, their common prefix only once."""
    shared = _common_prefix(prompts)
    prefix: Cache | None = None
    if shared:
        prefix = DynamicCache()
        ids = torch.tensor([prompts[0][:shared]], device=model.device)
        model(input_ids=ids, past_key_values=prefix, use_cache=True, logits_to_keep=1)
    width = max(len(prompt) for prompt in prompts) - shared
    size = max(1, _PREFILL_TOKENS // width)
    for start in range(0, len(prompts), size):
        yield _prefill_chunk(model, prompts[start : start + size], prefix, shared)


def _prefill_chunk(
    model: Any, prompts: Sequence[tuple[int, ...]], prefix: Cache | None, shared: int
) -> _Prefilled:
    count, width = len(prompts), max(len(prompt) for prompt in prompts) - shared
    ids = torch.zeros(count, width, dtype=torch.long)
    positions = torch.zeros(count, width, dtype=torch.long)
    mask = torch.zeros(count, shared + width, dtype=torch.long)
    mask[:, :shared] = 1
    for i, prompt in enumerate(prompts):  # suffixes end together, so that one column has all logits
        start = width - (len(prompt) - shared)
        ids[i, start:] = torch.tensor(prompt[shared:])
        positions[i, start:] = torch.arange(shared, len(prompt))
        mask[i, shared + start :] = 1
    cache = repeat_prefix(prefix, count) if prefix is not None else DynamicCache()
    device = model.device
    output = model(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        position_ids=positions.to(device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return _Prefilled(prompts, output.logits[:, -1].float(), cache, mask)


def _common_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """Count the tokens all prompts begin with, leaving each at least one; 0 if it would not pay."""
    if len(prompts) == 1:
        return 0
    first, last = min(prompts), max(prompts)  # what these two share, all share
    most = min(len(prompt) for prompt in prompts) - 1
    shared = next((i for i in range(most) if first[i] != last[i]), most)
    return shared if shared >= _SHORTEST_PREFIX else 0


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
            tokens = _keep(state, tokens, open_rows)
        _advance(model, state, tokens)


def _keep(state: _State, tokens: torch.Tensor, open_rows: list[int]) -> torch.Tensor:
    """Drop all other rows; gives the remaining tokens."""
    index = torch.tensor(open_rows, device=tokens.device)
    state.cache.batch_select_indices(index)
    state.mask, state.uniforms = state.mask[index], state.uniforms[index]
    state.lengths = state.lengths[index]
    return tokens[index]


def _advance(model: Any, state: _State, tokens: torch.Tensor) -> None:
    state.columns += 1
    output = model(
        input_ids=tokens[:, None],
        attention_mask=state.mask[:, : state.columns],
        position_ids=state.lengths[:, None],
        past_key_values=state.cache,
        use_cache=True,
    )
    state.logits = output.logits[:, -1].float()
    state.lengths = state.lengths + 1


def _choose(
    logits: torch.Tensor, uniforms: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pick a token for each row; gives ids and log-probabilities at temperature 1, (rows,)."""
    logprobs = logits.log_softmax(-1)
    if temperature == 0:
        tokens = logits.argmax(-1)
    else:
        scaled = logprobs if temperature == 1 else (logits / temperature).log_softmax(-1)
        # torch.multinomial is 15 times slower and draws from a global stream.
        cumulative = scaled.exp().cumsum(-1, dtype=torch.float64)
        points = uniforms[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, points, right=True)[:, 0]
        tokens = tokens.clamp_(max=logits.shape[1] - 1)
    chosen = logprobs.gather(1, tokens[:, None])[:, 0]
    if not bool(chosen.isfinite().all()):
        raise BadValue("The model's logits are not numbers: its weights or its adapter are broken.")
    return tokens, chosen
