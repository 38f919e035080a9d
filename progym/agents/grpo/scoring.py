"""Log-probabilities of completions with every distinct token computed once.

Rows that begin alike (the rollouts of one prompt, the calls of one module) are laid out as a tree,
so a step costs as much as its distinct tokens. Models whose layers look at tokens in other ways
than plain causal attention can't be packed; `can_pack` tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from progym.agents.grpo.heads import NO_HEAD, Head, computed_head
from progym.agents.grpo.packing import Pack, Rows, lay_out, path_of
from progym.agents.grpo.token_scores import score_tokens
from progym.agents.grpo.tree_attention import nodes_of, tree_attention
from progym.agents.models.last_layer import wanted_only

_TREE_BYTES = {"cpu": 2 << 30, "cuda": 16 << 30}
"""Memory for a tree's activations."""
_FEWEST = 512
_MOST = {"cpu": 1024, "cuda": 4096}
"""Tokens of a tree, whatever they take; on a CPU more gain nothing and leave its cache sooner."""
_ACTIVATIONS = 24
"""Values kept for each token, layer and hidden unit, LoRA included: 17 to 20 in Llamas measured."""
_LOGITS = 2
"""Values in single precision kept for each token and entry of the vocabulary."""

Model = Callable[..., Any]


@dataclass(frozen=True)
class Scores:
    """Per token, (B, C), zero where a row has no token; entropies carry no gradient."""

    logprobs: torch.Tensor
    entropies: torch.Tensor


def tokens_at_once(model: Any) -> int:
    """Give how many tokens a tree may have, so that memory is bounded."""
    config = model.config.get_text_config()
    kept = _ACTIVATIONS * model.dtype.itemsize * config.num_hidden_layers * config.hidden_size
    device = model.device.type if model.device.type in _MOST else "cpu"
    fitting = _TREE_BYTES[device] // (kept + 4 * _LOGITS * config.vocab_size)
    return min(max(fitting, _FEWEST), _MOST[device])


def score_rows(
    model: Model, rows: Rows, *, width: int, temperature: float, head: Head = NO_HEAD
) -> Scores:
    """Score the completions of rows, padded to `width`, under the distribution at a temperature.

    Equal to scoring each row alone, up to rounding. All prompts begin with `head`, and go on.
    """
    written = [row for row, (_, tokens) in enumerate(rows) if tokens]
    start = len(head.token_ids)
    packed = lay_out([path_of(*rows[row])[start:] for row in written])
    nodes: list[int] = []  # that predict a completion token
    labels: list[int] = []
    places: list[int] = []  # in (B * C)
    for index, path in packed.paths.items():
        prompt, tokens = rows[written[index]]
        nodes.extend(path[len(prompt) - start - 1 :])
        labels.extend(tokens)
        places.extend(range(written[index] * width, written[index] * width + len(tokens)))
    logprobs, entropies = _forward(model, packed, head, nodes, labels, temperature)
    where = torch.tensor(places, device=logprobs.device)
    blank = torch.zeros(len(rows) * width, device=logprobs.device, dtype=logprobs.dtype)
    shape = (len(rows), width)
    return Scores(
        blank.scatter(0, where, logprobs).view(shape),
        blank.scatter(0, where, entropies).view(shape),
    )


def can_pack(model: Model, config: Any) -> bool:
    """Try whether the model sees only what a tree lets it see."""
    values: dict[str, Any] = config.to_dict()
    windows = ["sliding_attention"] if values.get("sliding_window") else []
    if set(values.get("layer_types") or windows) - {"full_attention"}:
        return False
    if config._attn_implementation not in ("sdpa", "eager"):  # no public name
        return False
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=config).layers):
        return False
    tokens = [5 % config.vocab_size, 3 % config.vocab_size, 4 % config.vocab_size]
    rows = [(tokens, tokens[:1]), (tokens, tokens[1:]), (tokens[:2], tokens)]
    score = partial(score_rows, model, width=3, temperature=1.0)
    with torch.no_grad(), computed_head(model, tokens[:1]) as head:
        together = score(rows, head=head).logprobs
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


def _forward(
    model: Any, packed: Pack, head: Head, nodes: list[int], labels: list[int], temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give log-probabilities of labels and entropies at nodes."""
    device, start = model.device, len(head.token_ids)
    distinct, inverse = cast(
        "tuple[torch.Tensor, torch.Tensor]",
        torch.unique(torch.tensor(nodes, device=device), return_inverse=True),
    )
    with tree_attention(model) as takes_trees, wanted_only(model, distinct):
        if takes_trees:
            seen: dict[str, Any] = {"progym_tree": nodes_of(packed.ends)}
        else:
            seen = {"attention_mask": _mask(packed, start, model)}
        logits = model(
            input_ids=torch.tensor([packed.token_ids], device=device),
            position_ids=torch.tensor([packed.positions], device=device) + start,
            past_key_values=head.cache() if start else None,
            logits_to_keep=distinct,
            use_cache=start > 0,
            **seen,
        ).logits[0]  # (distinct nodes, V)
    return score_tokens(logits, inverse, torch.tensor(labels, device=device), temperature)


def _mask(packed: Pack, start: int, model: Any) -> torch.Tensor:
    """Hide what is not on the way to a token; (1, 1, tokens, head and tokens)."""
    ends = torch.tensor(packed.ends, device=model.device)
    order = torch.arange(len(packed.token_ids), device=model.device)
    seen = (order[None, :] <= order[:, None]) & (order[:, None] < ends[None, :])
    mask = torch.zeros(seen.shape, dtype=model.dtype, device=model.device)
    mask.masked_fill_(~seen, torch.finfo(model.dtype).min)
    return torch.nn.functional.pad(mask, (start, 0))[None, None]
