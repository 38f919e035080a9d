"""Where real task data comes from: a folder in our format, or the hub. `load` is the way in."""

from __future__ import annotations

from pathlib import Path

from progym.envs.errors import BadValue
from progym.envs.sources.data import TaskData
from progym.envs.sources.folder import load_folder
from progym.envs.sources.hub import load_hub

__all__ = ["TaskData", "load"]


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
        return load_hub(task, split, corpus=None if corpus is None else Path(corpus))
    if corpus is not None:
        raise BadValue('corpus goes with data="hub"; a folder brings its own corpus.jsonl.')
    if not str(data):
        raise BadValue('data must be "embedded", "hub" or the path of a folder; it is empty.')
    return load_folder(task, Path(data).expanduser(), split)
