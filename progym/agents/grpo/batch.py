"""From groups to what the loss takes: rows of token ids with an advantage, then padded tensors.

The ids are the ones that were sampled; nothing is tokenised here. Only completion tokens are
masked in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch

from progym.agents.grpo.config import LossType
from progym.agents.grpo.grouping import Group
from progym.agents.processes import Processes
from progym.envs.errors import BadValue
from progym.envs.module import StepType

Tensors = dict[str, torch.Tensor]

_PROMPTS = ("prompt_ids", "prompt_mask")
"""Tensors that are padded on the left; all others with a second dimension are on the right."""


@dataclass(frozen=True, slots=True)
class Row:
    """One call to train on."""

    step_type: StepType
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    advantage: float
    drawn_logps: tuple[float, ...] = ()
    """Log-probabilities that a teacher drew the tokens at; empty where the student drew them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one step that can move the policy, and how many there were in all."""

    rows: tuple[Row, ...]
    row_count: int
    token_count: int
    """Completion tokens, rows that were left out included."""
    world_size: int = 1
    """Processes that the rows were shared between; the counts are of all of them."""

    def loss_scale(self, loss_type: LossType, rows: int, tokens: int) -> float:
        """Correct the loss of some of the rows, so that those of all parts add up to the whole's.

        TRL divides by the part's own number of rows or tokens, or for dapo and cispo by the number
        of tokens it is told, once for each process.
        """
        if loss_type in ("grpo", "dr_grpo"):
            return rows / max(self.row_count, 1)
        if loss_type == "bnpo":
            return tokens / max(self.token_count, 1)
        return 1.0 / self.world_size


def make_rows(
    groups: Sequence[Group],
    *,
    loss_type: LossType = "grpo",
    is_taught: Callable[[int], bool] = lambda _: False,
) -> list[Row]:
    """Make a row for each call, its advantage weighted so that every group counts the same.

    Losses average over all rows or all tokens; the weights undo what groups of different sizes do
    to that. Under loss_type "grpo", which averages each row over its own tokens, a whole run is
    averaged over the tokens of all its calls (paper, v2). `is_taught` tells, by a run's position,
    whether a teacher drew it.
    """
    sizes = [sum(len(member.calls) for member in group.members) for group in groups]
    total = sum(sizes)
    rows: list[Row] = []
    for group, size in zip(groups, sizes, strict=True):
        for member, advantage in zip(group.members, group.advantages, strict=True):
            written = sum(len(call.token_ids) for call in member.calls)
            for call in member.calls:
                if not call.token_ids or not call.prompt_ids:
                    raise BadValue(
                        f"A call of {call.module!r} has no token ids, so it can't be trained on. "
                        "Sample with a model that trains (transformers), not an endpoint or a "
                        "script."
                    )
                weight = total / (len(groups) * size)
                if loss_type == "grpo":
                    share = len(call.token_ids) / written
                    weight = total / (len(groups) * len(group.members)) * share
                step_type = StepType(call.module, call.occurrence)
                drawn = call.logprobs if is_taught(member.run) else ()
                row = Row(step_type, call.prompt_ids, call.token_ids, weight * advantage, drawn)
                rows.append(row)
    return rows


def make_batch(rows: Sequence[Row], *, beta: float) -> Batch:
    """Leave out the rows that can't move the policy.

    Without a KL term, a row whose advantage is 0 has no gradient; it only stands in the
    denominator of the losses that divide by rows or by their own tokens.
    """
    tokens = sum(len(row.token_ids) for row in rows)
    return Batch(tuple(row for row in rows if beta or row.advantage), len(rows), tokens)


def share_rows(batch: Batch, processes: Processes) -> Batch:
    """Give a process its part of each module's rows; those that begin alike stay together.

    A process that gets none of a module's rows has a neutral one: all know the same modules.
    """
    if processes.world_size == 1:
        return batch
    by_module: dict[str, list[Row]] = {}
    for row in sorted(batch.rows, key=lambda row: (row.prompt_ids, row.token_ids)):
        by_module.setdefault(row.step_type.module, []).append(row)
    mine: list[Row] = []
    for rows in by_module.values():
        mine += processes.share(rows) or [_neutral(rows[0].step_type)]
    return replace(batch, rows=tuple(mine), world_size=processes.world_size)


def to_tensors(batch: Batch, step_types: Sequence[StepType], pad_id: int) -> Tensors:
    """Pad the rows as TRL's loss wants them: prompts on the left, completions on the right.

    A batch without rows becomes one neutral row (mask 0, advantage 0). `step_type` holds each row's
    position in `step_types`, -1 for the neutral row.
    """
    rows = batch.rows or (_neutral(StepType("", 0)),)
    prompts, prompt_mask = _pad([row.prompt_ids for row in rows], pad_id, left=True)
    completions, completion_mask = _pad([row.token_ids for row in rows], pad_id, left=False)
    where = [step_types.index(row.step_type) if row.step_type.module else -1 for row in rows]
    return {
        "prompt_ids": prompts,  # (B, P)
        "prompt_mask": prompt_mask,
        "completion_ids": completions,  # (B, C)
        "completion_mask": completion_mask,
        "advantages": torch.tensor([row.advantage for row in rows], dtype=torch.float32),  # (B,)
        "num_items_in_batch": torch.tensor(batch.token_count),
        "step_type": torch.tensor(where),
    }


def split_by_module(
    tensors: Tensors, step_types: Sequence[StepType]
) -> Iterator[tuple[str, list[int], Tensors]]:
    """Give each module's name, its rows' positions, and its rows, padded no further than needed."""
    rows: dict[str, list[int]] = {}
    for row, where in enumerate(cast("list[int]", tensors["step_type"].tolist())):
        rows.setdefault(step_types[where].module if where >= 0 else "", []).append(row)
    for module in sorted(rows):
        yield module, rows[module], select_rows(tensors, rows[module])


def _neutral(step_type: StepType) -> Row:
    """Make a row that moves nothing."""
    return Row(step_type, (0,), (), 0.0)


def select_rows(tensors: Tensors, rows: Sequence[int]) -> Tensors:
    """Take some rows, padded no further than they need."""
    index = torch.tensor(rows, device=tensors["prompt_ids"].device)
    part = {name: values[index] if values.dim() else values for name, values in tensors.items()}
    prompt = int(part["prompt_mask"].sum(1).max())
    completion = max(1, int(part["completion_mask"].sum(1).max()))
    for name, values in part.items():
        if values.dim() == 2:
            part[name] = values[:, -prompt:] if name in _PROMPTS else values[:, :completion]
    return part


def take_rows(part: Tensors, rows: Sequence[int], count: int) -> Tensors:
    """Take some rows and as many neutral ones (mask 0, advantage 0) as make up a count."""
    taken = select_rows(part, [*rows, *[0] * (count - len(rows))])
    for name in ("advantages", "completion_mask"):
        taken[name][len(rows) :] = 0
    return taken


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
