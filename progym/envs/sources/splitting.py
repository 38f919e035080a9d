"""Drawing train, val and test from a release: disjoint, seeded, in the paper's sizes by default."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from progym.envs.errors import BadValue, unknown
from progym.envs.program import Example
from progym.envs.sources.formats import SPLITS, read_example
from progym.envs.sources.releases import Pools

Sizes = Mapping[str, int] | Literal["paper", "all"]
"""Examples by split; "paper" as in the paper; "all" leaves no example of the release out."""

PAPER_SIZES: Mapping[str, Mapping[str, int]] = {
    # The paper gives train and test; val is ours: what optimizers choose by must not be test.
    "banking77": {"train": 250, "val": 250, "test": 500},
    "hover": {"train": 500, "val": 250, "test": 500},
    "papillon": {"train": 111, "val": 98, "test": 221},
}


@dataclass(frozen=True)
class Drawn:
    """The splits that were drawn, and what the reader of a result must know about them."""

    splits: Mapping[str, Sequence[Example]]
    notes: tuple[str, ...] = ()


def draw(task: str, pools: Pools, sizes: Sizes, seed: int) -> Drawn:
    """Draw a task's splits; raises BadValue where sizes that were asked for are not there.

    Every row drawn is held against the task's format; BadData names the one that our own loader
    would refuse.

    An example's place comes from a hash of the seed and its id, so it depends neither on the order
    of the release nor on a random generator's version. A release with fewer examples than the
    paper's sizes need is shared out in the paper's proportions, and a note says so.
    """
    _check_sizes(sizes)
    splits: dict[str, Sequence[Example]] = {}
    notes: list[str] = []
    for pool, names in _layout(pools):
        ordered = sorted(pools[pool], key=lambda example: _place(seed, example.id))
        counts, note = _counts(task, names, len(ordered), sizes)
        notes += [note] if note else []
        for name in names:
            splits[name], ordered = ordered[: counts[name]], ordered[counts[name] :]
    for example in itertools.chain.from_iterable(splits.values()):
        read_example(task, vars(example), f"Row {example.id!r} of the release")
    return Drawn({name: splits[name] for name in SPLITS}, tuple(notes))


def _layout(pools: Pools) -> list[tuple[str, tuple[str, ...]]]:
    if "all" in pools:
        return [("all", ("test", "train", "val"))]
    return [("train", ("train", "val")), ("test", ("test",))]


def _place(seed: int, example_id: str) -> bytes:
    return hashlib.sha256(f"{seed}|{example_id}".encode()).digest()


def _check_sizes(sizes: Sizes) -> None:
    if isinstance(sizes, str):
        if sizes not in ("paper", "all"):
            raise unknown("sizes", sizes, ("paper", "all"))
        return
    for name, count in sizes.items():
        if name not in SPLITS:
            raise unknown("split", name, SPLITS)
        if count < 1:
            raise BadValue(f"Split {name!r} needs at least one example, got {count}.")


def _counts(
    task: str, names: tuple[str, ...], available: int, sizes: Sizes
) -> tuple[Mapping[str, int], str]:
    paper = {name: PAPER_SIZES[task][name] for name in SPLITS if name in names}
    if available < len(names):
        raise BadValue(
            f"The release holds {available} fitting examples; {', '.join(names)} need one each."
        )
    if not isinstance(sizes, str):
        wanted = {name: sizes.get(name, paper[name]) for name in names}
        if sum(wanted.values()) > available:
            raise BadValue(
                f"{wanted} needs {sum(wanted.values())} examples, the release holds {available}."
            )
        return wanted, ""
    if sum(paper.values()) <= available and sizes == "paper":
        return paper, ""
    if sum(paper.values()) <= available:
        return {**paper, _rest(names): paper[_rest(names)] + available - sum(paper.values())}, ""
    shared = _share(paper, available)
    return shared, f"The paper's sizes {paper} need more than {available} examples; drew {shared}."


def _share(paper: Mapping[str, int], available: int) -> dict[str, int]:
    total = sum(paper.values())
    counts = {name: max(1, available * count // total) for name, count in paper.items()}
    counts[_rest(tuple(paper))] += available - sum(counts.values())
    return counts


def _rest(names: tuple[str, ...]) -> str:
    """Name the split that takes what the others leave over."""
    return "train" if "train" in names else names[0]
