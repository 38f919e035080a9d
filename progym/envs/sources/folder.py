"""Data in our own format: a folder of JSON lines, checked row by row and read once per process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

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
    """Read one split; raises DataUnavailable for missing files, BadData for wrong content."""
    layout = format_of(task)
    check_split(split)
    if not folder.is_dir():
        raise DataUnavailable(
            f"There is no data folder {folder}. "
            f"Make one with: progym data import {task} SOURCE {folder}"
        )
    description = _read_description(task, _stamp(folder / "dataset.json", task))
    rows = _stamp(folder / f"{split}.jsonl", task)
    examples, rows_digest = _read_split(task, rows)
    expected = description.get("splits", {}).get(split, len(examples))
    if len(examples) != expected:
        raise BadData(
            f"{rows[0]}: {len(examples)} rows, but dataset.json says {expected}: the file was cut "
            "or edited. Import the release again, or correct 'splits'."
        )
    if not layout.has_corpus:
        return TaskData(examples, rows_digest)
    return with_corpus(TaskData(examples, rows_digest), load_corpus(task, folder))


def with_corpus(data: TaskData, corpus: Corpus) -> TaskData:
    """Put examples over a corpus, which is half of the question and of the fingerprint."""
    digest = hashlib.sha256(f"{data.fingerprint} {corpus.fingerprint}".encode()).hexdigest()
    return TaskData(data.examples, digest, corpus)


def load_corpus(task: str, folder: Path) -> Corpus:
    """Read a folder's `corpus.jsonl`."""
    return _read_corpus(_stamp(folder / "corpus.jsonl", task))


def merge_passages(passages: Iterable[Passage]) -> tuple[Passage, ...]:
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
            f"{path} can't be read ({error.strerror}). A data folder for {task} holds "
            f"{files}{corpus}; make one with: progym data import {task} SOURCE {path.parent}"
        ) from error
    return (str(path.resolve()), status.st_mtime_ns, status.st_size)


def _content(stamp: _Stamp) -> bytes:
    try:
        return Path(stamp[0]).read_bytes()
    except OSError as error:
        raise DataUnavailable(f"{stamp[0]} can't be read ({error.strerror}).") from error


@lru_cache(maxsize=16)
def _read_description(task: str, stamp: _Stamp) -> dict[str, Any]:
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
    if not isinstance(values.get("splits", {}), dict):
        raise BadData(f"{path}: 'splits' must be an object of row counts by split.")
    return values


@lru_cache(maxsize=16)
def _read_split(task: str, stamp: _Stamp) -> tuple[Examples, str]:
    content = _content(stamp)
    examples: dict[str, Example] = {}
    for origin, values in read_lines(Path(stamp[0]), content):
        example = read_example(task, values, origin)
        if example.id in examples:
            raise BadData(f"{origin}: id {example.id!r} stands twice; each row needs its own.")
        examples[example.id] = example
    if not examples:
        raise BadData(f"{stamp[0]}: a split needs at least one row; this one is empty.")
    return Examples.of(list(examples.values())), hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=4)
def _read_corpus(stamp: _Stamp) -> Corpus:
    content = _content(stamp)
    passages = merge_passages(
        read_passage(values, origin) for origin, values in read_lines(Path(stamp[0]), content)
    )
    if not passages:
        raise BadData(f"{stamp[0]}: a corpus needs at least one passage; this one is empty.")
    return Corpus(passages, hashlib.sha256(content).hexdigest())


def read_passage(values: Mapping[str, Any], origin: str) -> Passage:
    """Check one passage, whose text may be a list of sentences; raises BadData naming `origin`."""
    title: Any = values.get("title")
    text: Any = values.get("text")
    if isinstance(text, list):
        text = "".join(str(sentence) for sentence in cast("list[object]", text))
    for name, value in (("title", title), ("text", text)):
        if not isinstance(value, str) or not value.strip():
            raise BadData(
                f"{origin}: a passage needs the texts 'title' and 'text', neither empty; "
                f"{name!r} is {value!r:.60}."
            )
    return Passage(str(title), str(text))
