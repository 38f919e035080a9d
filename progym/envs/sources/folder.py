"""Data in our own format: a folder of JSON lines, checked row by row and read once per process."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from progym.envs.corpus import Corpus, Passage, normalize_title
from progym.envs.errors import BadData, DataUnavailable
from progym.envs.examples import Examples
from progym.envs.program import Example
from progym.envs.sources.data import TaskData
from progym.envs.sources.formats import (
    FORMAT_VERSION,
    SPLITS,
    check_split,
    format_of,
    read_example,
)
from progym.envs.strict_json import parse_object, read_lines

_Stamp = tuple[str, int, int]
"""A file's path, modification time and size: while they stay, what was read of it stays."""


def load_folder(task: str, folder: Path, split: str) -> TaskData:
    """Read one split of a folder; raises DataUnavailable for missing files, BadData for wrong content."""
    layout = format_of(task)
    check_split(split)
    if not folder.is_dir():
        raise DataUnavailable(
            f"There is no data folder {folder}. Make one with: progym data import {task} SOURCE {folder}"
        )
    _check_description(task, _stamp(folder / "dataset.json", task))
    examples, rows_digest = _read_split(task, _stamp(folder / f"{split}.jsonl", task))
    if not layout.has_corpus:
        return TaskData(examples, rows_digest)
    corpus = load_corpus(task, folder)
    # The corpus is half of the question: the same claims over other passages are another task.
    digest = hashlib.sha256(f"{rows_digest} {corpus.fingerprint}".encode()).hexdigest()
    return TaskData(examples, digest, corpus)


def load_corpus(task: str, folder: Path) -> Corpus:
    """Read a folder's `corpus.jsonl`."""
    return _read_corpus(_stamp(folder / "corpus.jsonl", task))


def merge_passages(passages: list[Passage]) -> tuple[Passage, ...]:
    """Make titles NFC and unique: a title that returns has its new texts added to the first's."""
    texts: dict[str, list[str]] = {}
    for passage in passages:
        known = texts.setdefault(normalize_title(passage.title), [])
        if passage.text not in known:
            known.append(passage.text)
    return tuple(Passage(title, " ".join(known)) for title, known in texts.items())


def _stamp(path: Path, task: str) -> _Stamp:
    try:
        status = path.stat()
    except OSError as error:
        files = ", ".join(["dataset.json", *(f"{split}.jsonl" for split in SPLITS)])
        corpus = " and corpus.jsonl" if format_of(task).has_corpus else ""
        raise DataUnavailable(
            f"{path} can't be read ({error.strerror}). A data folder for {task} holds {files}{corpus}; "
            f"make one with: progym data import {task} SOURCE {path.parent}"
        ) from error
    return (str(path.resolve()), status.st_mtime_ns, status.st_size)


def _content(stamp: _Stamp) -> bytes:
    try:
        return Path(stamp[0]).read_bytes()
    except OSError as error:
        raise DataUnavailable(f"{stamp[0]} can't be read ({error.strerror}).") from error


@lru_cache(maxsize=16)
def _check_description(task: str, stamp: _Stamp) -> None:
    path = stamp[0]
    values: dict[str, Any] = parse_object(_content(stamp), path)
    if values.get("format") != FORMAT_VERSION:
        raise BadData(
            f"{path}: 'format' is {values.get('format')!r}, this version reads {FORMAT_VERSION}. "
            "Import the release again with: progym data import"
        )
    if values.get("task") != task:
        raise BadData(
            f"{path}: this folder holds data for {values.get('task')!r}, not for {task!r}. "
            f"Give a folder made with: progym data import {task} SOURCE FOLDER"
        )


@lru_cache(maxsize=16)
def _read_split(task: str, stamp: _Stamp) -> tuple[Examples, str]:
    content = _content(stamp)
    examples: dict[str, Example] = {}
    for origin, values in read_lines(Path(stamp[0]), content):
        example = read_example(task, values, origin)
        if example.id in examples:
            raise BadData(f"{origin}: id {example.id!r} stands twice; every row needs an id of its own.")
        examples[example.id] = example
    if not examples:
        raise BadData(f"{stamp[0]}: a split needs at least one row; this one is empty.")
    return Examples.of(list(examples.values())), hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=4)
def _read_corpus(stamp: _Stamp) -> Corpus:
    content = _content(stamp)
    passages = [
        _read_passage(values, origin) for origin, values in read_lines(Path(stamp[0]), content)
    ]
    if not passages:
        raise BadData(f"{stamp[0]}: a corpus needs at least one passage; this one is empty.")
    return Corpus(merge_passages(passages), hashlib.sha256(content).hexdigest())


def _read_passage(values: dict[str, Any], origin: str) -> Passage:
    for name in ("title", "text"):
        if not isinstance(values.get(name), str) or not values[name].strip():
            raise BadData(
                f"{origin}: a passage is an object with the texts 'title' and 'text', neither empty; "
                f"{name!r} is {values.get(name)!r:.60}."
            )
    return Passage(values["title"], values["text"])
