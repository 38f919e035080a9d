"""`import_release` turns a public release into a folder in our format, all or nothing."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from progym.envs.corpus import Passage
from progym.envs.errors import BadData, BadValue, DataUnavailable, RecordingFailed
from progym.envs.program import Example
from progym.envs.sources.folder import merge_passages, read_passage
from progym.envs.sources.formats import FORMAT_VERSION, format_of
from progym.envs.sources.releases import Pools, read_banking77, read_hover, read_pupa
from progym.envs.sources.splitting import Sizes, draw
from progym.envs.strict_json import dump_line, parse_object

ORIGINS: Mapping[str, tuple[str, str]] = {
    "banking77": ("PolyAI-LDN/task-specific-datasets", "CC BY 4.0"),
    "hover": ("hover-nlp/hover, release 1.1", "CC BY-SA 4.0"),
    "papillon": ("siyan-sylvia-li/PAPILLON, PUPA_New", "MIT"),
}
"""Where a task's release comes from, and its licence."""


@dataclass(frozen=True)
class ImportReport:
    """What an import wrote: examples by split, passages, and what to know about them."""

    folder: Path
    sizes: Mapping[str, int]
    passages: int
    notes: tuple[str, ...]


def import_release(
    task: str,
    source: Path,
    out: Path,
    *,
    seed: int = 0,
    sizes: Sizes = "paper",
    corpus: Path | None = None,
    only_uids: AbstractSet[str] | None = None,
    hops: AbstractSet[int] = frozenset({4}),
) -> ImportReport:
    """Read a public release and write `out`, a data folder; `out` appears whole or not at all.

    Args:
        task: "banking77", "hover" or "papillon".
        source: The folder that holds the release's files as they are published.
        out: The folder to make; it must not exist, or be empty.
        seed: Draws the splits.
        sizes: Examples by split, or "paper" or "all"; sizes that are not there raise BadValue.
        corpus: HoVer's passages, `{"title", "text"}` lines, plain or gzipped.
        only_uids: HoVer's claims to choose from; all where None.
        hops: HoVer's numbers of hops to choose from.
    """
    layout = format_of(task)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadValue(f"{out} exists already. Choose a new folder, or remove that one first.")
    pools = _read(task, source, only_uids, hops)
    passages = _read_corpus(corpus) if layout.has_corpus else ()
    drawn = draw(task, pools, sizes, seed)
    notes = (*drawn.notes, *_uncovered(drawn.splits, passages))
    report = ImportReport(
        out, {name: len(rows) for name, rows in drawn.splits.items()}, len(passages), notes
    )
    _write(task, report, drawn.splits, passages, seed)
    return report


def read_uids(path: Path) -> frozenset[str]:
    """Read the uids of `only_uids` from a JSON array of texts."""
    try:
        values: object = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataUnavailable(f"{path} can't be read ({error.strerror}).") from error
    except ValueError as error:
        raise BadData(f"{path}: expected a JSON array of uids ({error}).") from error
    if not isinstance(values, list) or not all(isinstance(uid, str) for uid in values):  # pyright: ignore[reportUnknownVariableType]
        raise BadData(f"{path}: expected a JSON array of uids.")
    return frozenset(values)  # pyright: ignore[reportUnknownArgumentType]


def render_split(examples: Sequence[Example]) -> bytes:
    """Write a split's rows as the file's bytes, which is what the fingerprint is taken of."""
    return b"".join(
        dump_line({"id": e.id, "inputs": dict(e.inputs), "gold": dict(e.gold)}) for e in examples
    )


def _read(
    task: str, source: Path, only_uids: AbstractSet[str] | None, hops: AbstractSet[int]
) -> Pools:
    if not source.is_dir():
        raise DataUnavailable(f"{source} is no folder. Give the folder that holds the release.")
    if task == "hover":
        return read_hover(source, hops=hops, only_uids=only_uids)
    if only_uids is not None:
        raise BadValue(f"only_uids chooses among HoVer's claims; {task} has none.")
    return read_banking77(source) if task == "banking77" else read_pupa(source)


def _read_corpus(corpus: Path | None) -> tuple[Passage, ...]:
    if corpus is None:
        raise BadValue(
            "HoVer needs the passages that its claims are checked against. Give them with "
            '--corpus FILE: a line {"title": ..., "text": ...} for each, plain or gzipped.'
        )
    return merge_passages(_passages(corpus))


def _passages(corpus: Path) -> Iterator[Passage]:
    opener = gzip.open if corpus.suffix == ".gz" else open
    try:
        with opener(corpus, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    origin = f"{corpus}:{number}"
                    yield read_passage(parse_object(line, origin), origin)
    except (OSError, EOFError, zlib.error) as error:
        raise DataUnavailable(f"{corpus} can't be read ({error}).") from error


def _uncovered(
    splits: Mapping[str, Sequence[Example]], passages: tuple[Passage, ...]
) -> tuple[str, ...]:
    if not passages:
        return ()
    titles = {passage.title for passage in passages}
    examples = [example for rows in splits.values() for example in rows]
    count = sum(not titles.issuperset(example.gold["titles"]) for example in examples)
    if not count:
        return ()
    return (
        f"{count} of {len(examples)} claims have a gold title that is not in the corpus: their "
        "recall can't reach 1. only_uids (--only-uids) chooses claims that are covered.",
    )


def _write(
    task: str,
    report: ImportReport,
    splits: Mapping[str, Sequence[Example]],
    passages: tuple[Passage, ...],
    seed: int,
) -> None:
    source, licence = ORIGINS[task]
    description: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "task": task,
        "source": source,
        "licence": licence,
        "seed": seed,
        "splits": dict(report.sizes),
        "passages": report.passages,
        "notes": list(report.notes),
    }
    files = {f"{name}.jsonl": render_split(rows) for name, rows in splits.items()}
    if passages:
        files["corpus.jsonl"] = b"".join(
            dump_line({"title": p.title, "text": p.text}) for p in passages
        )
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    _write_folder(report.folder, {**files, "dataset.json": text.encode()})


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write beside the folder and rename, so that a kill leaves no half-written folder behind."""
    scratch: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        for name, content in files.items():
            (scratch / name).write_bytes(content)
        scratch.chmod(0o755)  # mkdtemp makes folders that only their owner may read
        scratch.replace(folder)
    except OSError as error:
        raise RecordingFailed(f"{folder} could not be written ({error}); nothing was.") from error
    finally:
        if scratch is not None and scratch.exists():
            shutil.rmtree(scratch)
