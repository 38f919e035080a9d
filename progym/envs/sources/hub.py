"""`data="hub"`: the paper's releases at pinned revisions, by way of `datasets`.

The network is needed once. The splits are those that `import_release` draws with seed 0 from the
same files, rows, ids and fingerprint included. HoVer's passages are not on the hub: they come from
a folder of the user's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from progym.envs.errors import BadData, BadValue, DataUnavailable, MissingExtra
from progym.envs.examples import Examples
from progym.envs.sources.data import TaskData
from progym.envs.sources.folder import load_corpus, with_corpus
from progym.envs.sources.formats import check_split, format_of
from progym.envs.sources.importing import render_split
from progym.envs.sources.releases import Pools, banking77_pools, hover_pools, pupa_pools
from progym.envs.sources.splitting import Drawn, draw


@dataclass(frozen=True)
class HubFile:
    """One file of a release: a repository of the hub at a commit, or a plain address."""

    repository: str
    revision: str
    name: str
    sha256: str = ""
    """What the file's bytes must hash to, where that is known; the revision pins it in any case."""
    address: str = ""
    """Where the file lies if the hub's repository only points to it."""


# The hub's repository of HoVer (revision c0e43052759879b3461642ca6c0dd26658f47691) is a loading
# script, which `datasets` no longer runs, over the release files of this other repository.
_HOVER = "hover-nlp/hover"
_HOVER_COMMIT = "39b84697f196308f398a251a7aea9b82ae0f0562"
_HOVER_ADDRESS = f"https://raw.githubusercontent.com/hover-nlp/hover/{_HOVER_COMMIT}/data/hover/"

FILES: Mapping[str, tuple[HubFile, ...]] = {
    "banking77": tuple(
        HubFile(
            "PolyAI/banking77",
            "796a4623935746f71378f0ebd435635a8ce08e50",
            f"data/{part}-00000-of-00001.parquet",
        )
        for part in ("train", "test")
    ),
    "hover": tuple(
        HubFile(_HOVER, _HOVER_COMMIT, name, sha256, _HOVER_ADDRESS + name)
        for name, sha256 in (
            (
                "hover_train_release_v1.1.json",
                "1f1cd57abd616fa00c70bdc575ce77c16fc6cf1a6cffd5ff87c208030a336bb6",
            ),
            (
                "hover_dev_release_v1.1.json",
                "67c14858f2d7fcdb96b6fe3d538ffcd6f76e3ba594aa2c0cd4359f601101e89d",
            ),
        )
    ),
    "papillon": (
        HubFile(
            "Columbia-NLP/PUPA",
            "9981b49b6ced0033988a224b6712895ebf119294",
            "PUPA_New.csv",
            "72d7659c717706bc987f0d296d9714f63db5e75c6645376ec75380e6638b8f91",
        ),
    ),
}

Fetch = Callable[[HubFile], Path]
"""Brings a file of the hub to this machine and gives its path; raises OSError where it can't."""


def load_hub(
    task: str, split: str, *, corpus: Path | None = None, fetch: Fetch | None = None
) -> TaskData:
    """Read one split of a release; raises DataUnavailable where the hub can't be reached."""
    layout = format_of(task)
    check_split(split)
    if layout.has_corpus and corpus is None:
        raise DataUnavailable(
            "HoVer's passages (abstracts of Wikipedia 2017) are not on the hub. Get them as JSON "
            f"lines, then: progym data import {task} RELEASE OUT --corpus PASSAGES, and data=OUT."
        )
    if not layout.has_corpus and corpus is not None:
        raise BadValue(f"{task} has no corpus; only HoVer takes one.")
    rows = _draw(task, fetch or fetch_file).splits[split]
    data = TaskData(Examples.of(list(rows)), hashlib.sha256(render_split(rows)).hexdigest())
    return data if corpus is None else with_corpus(data, load_corpus(task, corpus))


def fetch_file(file: HubFile) -> Path:
    """Download a file, or find it in the hub's cache on this disk."""
    if find_spec("datasets") is None:
        raise MissingExtra('data="hub" needs the package datasets: pip install "progym[train]"')
    import datasets  # heavy, and optional
    import huggingface_hub

    if file.address:
        return Path(cast("str", datasets.DownloadManager().download(file.address)))
    return Path(
        huggingface_hub.hf_hub_download(
            file.repository, file.name, repo_type="dataset", revision=file.revision
        )
    )


@lru_cache(maxsize=8)
def _draw(task: str, fetch: Fetch) -> Drawn:
    paths = [_fetched(task, file, fetch) for file in FILES[task]]
    return draw(task, _pools(task, paths), "paper", seed=0)


def _fetched(task: str, file: HubFile, fetch: Fetch) -> Path:
    try:
        path = fetch(file)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except MissingExtra:
        raise
    except Exception as error:  # the hub's clients raise their own and their HTTP library's classes
        raise DataUnavailable(
            f"{file.name} of {file.repository} at {file.revision[:12]} can't be had "
            f"({type(error).__name__}: {error}). Connect this machine to the hub, or get the "
            f"release yourself, then: progym data import {task} RELEASE OUT, and data=OUT."
        ) from error
    if file.sha256 not in ("", digest):
        raise BadData(
            f"{path}: {file.name} is not the pinned release: SHA-256 {digest}, expected "
            f"{file.sha256}. Delete the file and try again."
        )
    return path


def _pools(task: str, paths: list[Path]) -> Pools:
    if task == "banking77":
        return banking77_pools({"train": _labelled(paths[0]), "test": _labelled(paths[1])})
    if task == "hover":
        return hover_pools(paths, hops=frozenset({4}))
    return pupa_pools(paths[0])


def _labelled(path: Path) -> list[tuple[str, str]]:
    import datasets  # heavy, and optional

    rows: Any = datasets.Dataset.from_parquet(str(path), keep_in_memory=True)
    missing = [name for name in ("text", "label") if name not in rows.features]
    if missing:
        raise BadData(f"{path}: no column {', '.join(missing)}; found {list(rows.features)}.")
    names: list[str] = rows.features["label"].names
    return [(str(row["text"]), names[row["label"]]) for row in rows]
