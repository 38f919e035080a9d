"""The public releases as they are: files become examples, the same from disk and from the hub.

Repeats are dropped here, the first of each stays: Banking77 by text, HoVer by the HotpotQA question
that its claims grew from, PUPA by conversation. So no split can hold a twin of another's example.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from progym.envs.corpus import normalize_title
from progym.envs.errors import BadData, DataUnavailable
from progym.envs.program import Example
from progym.envs.strict_json import parse_array

Pools = Mapping[str, Sequence[Example]]
"""Examples by the part of a release they stand in: "train" and "test", or "all" where it is one."""

PUPA_FILE = "PUPA_New.csv"
HOVER_FILES = ("hover_train_release_v1.1.json", "hover_dev_release_v1.1.json")
BANKING77_FILES = {"train": "train.csv", "test": "test.csv"}

_HOVER_KEYS = ("uid", "claim", "supporting_facts", "num_hops", "hpqa_id")


def read_banking77(source: Path) -> Pools:
    """Read `train.csv` and `test.csv`; a train text that test repeats is dropped."""
    rows = {part: source / name for part, name in BANKING77_FILES.items()}
    return banking77_pools(
        {
            part: [(row["text"], row["category"]) for _, row in _csv(path, ("text", "category"))]
            for part, path in rows.items()
        }
    )


def banking77_pools(rows: Mapping[str, Sequence[tuple[str, str]]]) -> Pools:
    """Make Banking77's examples from (text, label) pairs by part; ids are part and position."""
    pools = {
        part: [
            Example(f"{part}-{position:05d}", {"text": text.strip()}, {"label": label})
            for position, (text, label) in enumerate(pairs)
            if text.strip()
        ]
        for part, pairs in rows.items()
    }
    test = first_of_each(pools["test"], _text_key)
    taken = {_text_key(example) for example in test}
    train = [e for e in first_of_each(pools["train"], _text_key) if _text_key(e) not in taken]
    return {"train": train, "test": test}


def read_hover(
    source: Path, *, hops: AbstractSet[int], only_uids: AbstractSet[str] | None = None
) -> Pools:
    """Read the HoVer releases in a folder, train and dev where both are there, as one pool."""
    paths = [source / name for name in HOVER_FILES if (source / name).is_file()]
    if not paths:
        raise DataUnavailable(f"{source} holds neither of {', '.join(HOVER_FILES)}.")
    return hover_pools(paths, hops=hops, only_uids=only_uids)


def hover_pools(
    paths: Sequence[Path], *, hops: AbstractSet[int], only_uids: AbstractSet[str] | None = None
) -> Pools:
    """Read HoVer release files: claims of these hops, one per HotpotQA question, titles in NFC."""
    chosen: dict[str, Example] = {}
    for path in paths:
        for number, record in enumerate(parse_array(_bytes(path), str(path)), 1):
            values = _hover_record(record, f"{path}: record {number}")
            if values["num_hops"] not in hops:
                continue
            if only_uids is None or values["uid"] in only_uids:
                chosen.setdefault(values["hpqa_id"], _hover_example(values))
    return {"all": list(chosen.values())}


def read_pupa(source: Path) -> Pools:
    """Read `PUPA_New.csv`: one example a conversation, PII units split on two bars."""
    return pupa_pools(source / PUPA_FILE)


def pupa_pools(path: Path) -> Pools:
    """Read a PUPA file."""
    keys = ("conversation_hash", "user_query", "target_response", "pii_units", "redacted_query")
    examples: list[Example] = []
    for origin, row in _csv(path, keys):
        units = [unit.strip() for unit in row["pii_units"].split("||")]
        gold = {
            "pii_units": list(dict.fromkeys(unit for unit in units if unit)),
            "target_response": row["target_response"],
            "redacted_query": row["redacted_query"],
        }
        if not gold["pii_units"] or not row["conversation_hash"]:
            raise BadData(f"{origin}: a row needs a conversation_hash and at least one PII unit.")
        examples.append(Example(row["conversation_hash"], {"user_query": row["user_query"]}, gold))
    return {"all": first_of_each(examples, lambda example: example.id)}


def first_of_each(examples: Iterable[Example], key: Callable[[Example], str]) -> list[Example]:
    """Keep the first example of each key, in order."""
    chosen: dict[str, Example] = {}
    for example in examples:
        chosen.setdefault(key(example), example)
    return list(chosen.values())


def _text_key(example: Example) -> str:
    return " ".join(example.inputs["text"].split()).casefold()


def _hover_record(record: object, origin: str) -> dict[str, Any]:
    if not isinstance(record, dict) or any(key not in record for key in _HOVER_KEYS):
        raise BadData(f"{origin}: expected an object with {', '.join(_HOVER_KEYS)}.")
    values: dict[str, Any] = {**record}
    texts = all(isinstance(values[key], str) and values[key] for key in ("uid", "claim", "hpqa_id"))
    facts = values["supporting_facts"]
    if not texts or not isinstance(facts, list) or not facts:
        raise BadData(f"{origin}: uid, claim, hpqa_id and supporting_facts must not be empty.")
    for fact in facts:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(fact, list) or not fact or not isinstance(fact[0], str):
            raise BadData(f"{origin}: a supporting fact is [title, sentence], found {fact!r:.60}.")
    return values


def _hover_example(values: Mapping[str, Any]) -> Example:
    titles = dict.fromkeys(normalize_title(fact[0]) for fact in values["supporting_facts"])
    gold = {"titles": list(titles), "hops": values["num_hops"]}
    return Example(values["uid"], {"claim": values["claim"]}, gold)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataUnavailable(
            f"{path} can't be read ({error.strerror}). Give the folder of the release as it is "
            "published; docs/data.md lists its files."
        ) from error


def _csv(path: Path, columns: tuple[str, ...]) -> Iterable[tuple[str, dict[str, str]]]:
    try:
        text = _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"{path}: not UTF-8 (byte {error.start}).") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise BadData(f"{path}:1: no column {', '.join(missing)}; found {reader.fieldnames}.")
        for row in reader:
            origin = f"{path}:{reader.line_num}"
            # DictReader marks a short row with None values and a long one with a None key.
            if None in row or any(row[column] is None for column in columns):
                raise BadData(f"{origin}: a row must have {len(reader.fieldnames or ())} cells.")
            yield origin, row
    except csv.Error as error:
        # The reader counts the lines it has read without fault.
        raise BadData(f"{path}:{reader.line_num + 1}: not CSV ({error}).") from error
