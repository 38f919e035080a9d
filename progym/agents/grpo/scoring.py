"""Log-probabilities of completions with every distinct token computed once.

Rows that begin alike (the rollouts of one prompt, the calls of one module) are packed as trees, so
a step costs as much as its distinct tokens. Models whose layers look at tokens in other ways than
plain causal attention can't be packed; `can_pack` tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch.utils.checkpoint

from progym.agents.grpo.packing import Pack, pack
from progym.agents.grpo.tree_attention import nodes_of, tree_attention

_SQUARE = 5
"""Times hidden size: the tokens at which attention costs a pack as much as all else, on a CPU."""

LIVE_BYTES = 1 << 30
"""Activations kept for the backward pass; what goes beyond is computed again there."""

_ACTIVATIONS = 24
"""Values kept for each token, layer and hidden unit, LoRA included: 17 to 20 in Llamas measured."""

Model = Callable[..., Any]
Rows = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Prompt ids and completion ids of each row."""


@dataclass(frozen=True)
class Scores:
    """Per token, (B, C), zero where a row has no token; entropies carry no gradient."""

    logprobs: torch.Tensor
    entropies: torch.Tensor


def score_rows(model: Model, rows: Rows, *, width: int, temperature: float, config: Any) -> Scores:
    """Score the completions of rows, padded to `width`, under the distribution at a temperature.

    Equal to scoring each row alone, up to rounding.
    """
    sequences = [(*prompt, *tokens)[:-1] for prompt, tokens in rows if tokens]
    origins = [row for row, (_, tokens) in enumerate(rows) if tokens]
    live = LIVE_BYTES // (_ACTIVATIONS * 4 * config.num_hidden_layers * config.hidden_size)
    places: list[torch.Tensor] = []
    scored: list[tuple[torch.Tensor, torch.Tensor]] = []
    with tree_attention(model) as takes_trees:
        square = math.inf if takes_trees else _SQUARE * config.hidden_size
    for packed in pack(sequences, square=square):
        entries = [(origins[index], path) for index, path in packed.paths.items()]
        nodes, labels, where = _targets(rows, entries, width)
        forward = partial(_forward, model, packed, nodes, labels, temperature)
        live -= len(packed.token_ids)
        if live < 0 and torch.is_grad_enabled():
            again = cast("Any", torch.utils.checkpoint.checkpoint(forward, use_reentrant=False))
            scored.append(again)
        else:
            scored.append(forward())
        places.append(where)
    return _scatter(scored, places, len(rows), width)


def can_pack(model: Model, config: Any) -> bool:
    """Try whether the model sees only what a tree mask lets it see."""
    values: dict[str, Any] = config.to_dict()
    windows = ["sliding_attention"] if values.get("sliding_window") else []
    if set(values.get("layer_types") or windows) - {"full_attention"}:
        return False
    if config._attn_implementation not in ("sdpa", "eager"):  # no public name
        return False
    tokens = [5 % config.vocab_size, 3 % config.vocab_size, 4 % config.vocab_size]
    rows = [(tokens, tokens[:1]), (tokens, tokens[1:]), (tokens[:2], tokens)]
    score = partial(score_rows, model, width=3, temperature=1.0, config=config)
    with torch.no_grad():
        together = score(rows).logprobs
        alone = torch.cat([score([row]).logprobs for row in rows])
    # Of the weights' own precision: scores in bfloat16 differ by more than rounding in float32.
    tolerance = 8 * torch.finfo(cast("Any", model).dtype).eps * float(alone.abs().max())
    return bool((together - alone).abs().max() <= max(tolerance, 1e-4))


def unpad_rows(
    ids: torch.Tensor, mask: torch.Tensor, prompt_width: int
) -> list[tuple[list[int], list[int]]]:
    """Give prompt and completion ids of padded rows, of which `prompt_width` columns are prompt."""
    rows: list[tuple[list[int], list[int]]] = []
    of_rows = cast("list[list[int]]", ids.tolist())
    masks = cast("list[list[int]]", mask.tolist())
    for tokens, kept in zip(of_rows, masks, strict=True):
        places = [place for place, keep in enumerate(kept) if keep]
        prompt = [tokens[place] for place in places if place < prompt_width]
        rows.append((prompt, [tokens[place] for place in places if place >= prompt_width]))
    return rows


def _targets(
    rows: Rows, entries: list[tuple[int, list[int]]], width: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each completion token: the node that predicts it, its id, its place in (B * C)."""
    nodes: list[int] = []
    labels: list[int] = []
    places: list[int] = []
    for row, path in entries:
        prompt, tokens = rows[row]
        nodes.extend(path[len(prompt) - 1 :])
        labels.extend(tokens)
        places.extend(range(row * width, row * width + len(tokens)))
    return torch.tensor(nodes), torch.tensor(labels), torch.tensor(places)


def _forward(
    model: Any, packed: Pack, nodes: torch.Tensor, labels: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    device = model.device
    distinct, inverse = cast(
        "tuple[torch.Tensor, torch.Tensor]", torch.unique(nodes.to(device), return_inverse=True)
    )
    with tree_attention(model) as takes_trees:
        if takes_trees:
            seen: dict[str, Any] = {"progym_tree": nodes_of(packed.ends)}
        else:
            seen = {"attention_mask": _mask(packed, model)}
        logits = model(
            input_ids=torch.tensor([packed.token_ids], device=device),
            position_ids=torch.tensor([packed.positions], device=device),
            logits_to_keep=distinct,
            use_cache=False,
            **seen,
        ).logits[0]  # (distinct nodes, V)
    exact = torch.promote_types(logits.dtype, torch.float32)
    logprobs = torch.log_softmax(logits.to(exact) / temperature, dim=-1)
    with torch.no_grad():
        entropies = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs[inverse, labels.to(device)], entropies[inverse]


def _mask(packed: Pack, model: Any) -> torch.Tensor:
    """Hide what is not on the way to a token; (1, 1, tokens, tokens)."""
    ends = torch.tensor(packed.ends, device=model.device)
    order = torch.arange(len(packed.token_ids), device=model.device)
    seen = (order[None, :] <= order[:, None]) & (order[:, None] < ends[None, :])
    mask = torch.zeros(seen.shape, dtype=model.dtype, device=model.device)
    return mask.masked_fill_(~seen, torch.finfo(model.dtype).min)[None, None]


def _scatter(
    scored: list[tuple[torch.Tensor, torch.Tensor]],
    places: list[torch.Tensor],
    rows: int,
    width: int,
) -> Scores:
    where = torch.cat(places).to(scored[0][0].device)
    blank = torch.zeros(rows * width, device=where.device, dtype=scored[0][0].dtype)
    logprobs = blank.scatter(0, where, torch.cat([values for values, _ in scored]))
    entropies = blank.scatter(0, where, torch.cat([values for _, values in scored]))
    return Scores(logprobs.view(rows, width), entropies.view(rows, width))
