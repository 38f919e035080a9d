"""From groups to what the loss takes: rows of token ids with an advantage, then padded tensors.

The ids are the ones that were sampled; nothing is tokenised here. Only completion tokens are
masked in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from progym.agents.grpo.advantages import ScaleRewards, group_advantages, group_weights
from progym.agents.grpo.config import LossType
from progym.agents.grpo.grouping import Group
from progym.envs.errors import BadValue

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Row:
    """One call to train on."""

    module: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    advantage: float


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one step, and what to multiply the loss of those rows with."""

    rows: tuple[Row, ...]
    tokens: int
    """Completion tokens of the step, rows that were left out included."""
    loss_scale: float = 1.0


def make_rows(groups: Sequence[Group], scale_rewards: ScaleRewards = "group") -> list[Row]:
    """Make a row for each member, its advantage weighted so that every group counts the same."""
    rewards = [group.rewards for group in groups]
    weights = group_weights([len(values) for values in rewards])
    rows: list[Row] = []
    scored = zip(groups, weights, group_advantages(rewards, scale_rewards), strict=True)
    for group, weight, advantages in scored:
        for member, advantage in zip(group.members, advantages, strict=True):
            call = member.call
            if not call.token_ids or not call.prompt_ids:
                raise BadValue(
                    f"A call of {call.module!r} has no token ids, so it can't be trained on. "
                    "Sample with a model that trains (transformers), not an endpoint or a script."
                )
            rows.append(
                Row(call.module, call.prompt_ids, call.token_ids, weight * float(advantage))
            )
    return rows


def make_batch(rows: Sequence[Row], *, loss_type: LossType, beta: float) -> Batch:
    """Leave out the rows that can't move the policy, and correct the loss for their absence.

    Without a KL term, a row whose advantage is 0 has no gradient; it only stands in the
    denominator of the losses that divide by rows or by their own tokens.
    """
    tokens = sum(len(row.token_ids) for row in rows)
    kept = tuple(row for row in rows if beta or row.advantage)
    if loss_type in ("grpo", "dr_grpo"):
        scale = len(kept) / max(len(rows), 1)
    elif loss_type == "bnpo":
        scale = sum(len(row.token_ids) for row in kept) / max(tokens, 1)
    else:  # dapo and cispo divide by the number of tokens that they are told
        scale = 1.0
    return Batch(kept, tokens, scale)


def to_tensors(batch: Batch, modules: Sequence[str], pad_id: int) -> Tensors:
    """Pad the rows as TRL's loss wants them: prompts on the left, completions on the right.

    A batch without rows becomes one neutral row (mask 0, advantage 0). `module` holds each row's
    position in `modules`, -1 for the neutral row.
    """
    rows = batch.rows or (Row("", (pad_id,), (), 0.0),)
    prompts, prompt_mask = _pad([row.prompt_ids for row in rows], pad_id, left=True)
    completions, completion_mask = _pad([row.token_ids for row in rows], pad_id, left=False)
    where = [modules.index(row.module) if row.module else -1 for row in rows]
    return {
        "prompt_ids": prompts,  # (B, P)
        "prompt_mask": prompt_mask,
        "completion_ids": completions,  # (B, C)
        "completion_mask": completion_mask,
        "advantages": torch.tensor([row.advantage for row in rows], dtype=torch.float32),  # (B,)
        "num_items_in_batch": torch.tensor(batch.tokens),
        "loss_scale": torch.tensor(batch.loss_scale),
        "module": torch.tensor(where),
    }


def _pad(
    sequences: Sequence[Sequence[int]], pad_id: int, *, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(1, *map(len, sequences)) if len(sequences) > 1 else max(1, len(sequences[0]))
    ids = torch.full((len(sequences), width), pad_id)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        place = slice(width - len(sequence), width) if left else slice(0, len(sequence))
        ids[row, place] = torch.tensor(sequence, dtype=ids.dtype)
        mask[row, place] = 1
    return ids, mask
