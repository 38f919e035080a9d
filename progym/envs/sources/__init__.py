"""Where task data comes from: an embedded world, a folder in our format, or the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from progym.envs.errors import BadValue
from progym.envs.sources.data import TaskData
from progym.envs.sources.folder import load_folder
from progym.envs.sources.hub import load_hub

__all__ = ["TaskData", "World", "load", "load_task"]

World = Callable[[str, int, int | None], TaskData]
"""Gives the data of (split, world seed, size) and raises for what the world has not."""


def load_task(
    task: str,
    world: World,
    data: str | Path,
    split: str,
    *,
    world_seed: int = 0,
    size: int | None = None,
    corpus: str | Path | None = None,
) -> TaskData:
    """Read one split of a task: of its own world for `data="embedded"`, else as `load` does.

    Arguments that the chosen data would ignore raise BadValue.
    """
    if data == "embedded":
        if corpus is not None:
            raise BadValue('corpus goes with data="hub"; the embedded world has its own.')
        return world(split, world_seed, size)
    if size is not None or world_seed != 0:
        raise BadValue(
            "size and world_seed belong to the embedded world. "
            f"Leave them out with data={str(data)!r}."
        )
    return load(task, data, split, corpus=corpus)


def load(task: str, data: str | Path, split: str, *, corpus: str | Path | None = None) -> TaskData:
    """Read one split of real data: `data` is "hub" or a folder in our format.

    A file is read once per process, so that many environments share one copy. Nothing falls back:
    what can't be had raises DataUnavailable, what is malformed BadData with file and line.

    Args:
        task: "banking77", "hover" or "papillon".
        data: "hub", or the path of a folder that `progym data import` made.
        split: "train", "val" or "test".
        corpus: A folder with the `corpus.jsonl` that HoVer's claims of the hub are asked over.
    """
    if data == "hub":
        return load_hub(task, split, corpus=None if corpus is None else Path(corpus).expanduser())
    if corpus is not None:
        raise BadValue('corpus goes with data="hub"; a folder brings its own corpus.jsonl.')
    if not str(data):
        raise BadValue('data must be "embedded", "hub" or the path of a folder; it is empty.')
    return load_folder(task, Path(data).expanduser(), split)
