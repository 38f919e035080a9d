"""What the rows of each task hold, in our format: keys, types, and whether there is a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from progym.envs.corpus import normalize_title
from progym.envs.errors import BadData, unknown
from progym.envs.program import Example

FORMAT_VERSION = 1
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class TaskFormat:
    """Required keys of a task's rows and their types, `str` or `list` (of texts, not empty)."""

    inputs: Mapping[str, type]
    gold: Mapping[str, type]
    has_corpus: bool = False


FORMATS: Mapping[str, TaskFormat] = {
    "banking77": TaskFormat(inputs={"text": str}, gold={"label": str}),
    "hover": TaskFormat(inputs={"claim": str}, gold={"titles": list}, has_corpus=True),
    "papillon": TaskFormat(
        inputs={"user_query": str},
        gold={"pii_units": list, "target_response": str, "redacted_query": str},
    ),
}


def format_of(task: str) -> TaskFormat:
    """Look up a task's format; raises UnknownName."""
    if task not in FORMATS:
        raise unknown("task", task, FORMATS)
    return FORMATS[task]


def check_split(split: str) -> None:
    """Raise UnknownName for a split that real data doesn't have."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)


def read_example(task: str, values: Mapping[str, Any], origin: str) -> Example:
    """Check one row and make its example; raises BadData naming `origin` and the key."""
    layout = format_of(task)
    _check_keys(values, ("id", "inputs", "gold"), origin, "a row", others=False)
    if not isinstance(values["id"], str) or not values["id"]:
        raise BadData(f"{origin}: 'id' must be a text that is not empty, found {values['id']!r}.")
    inputs = _read_part(values["inputs"], layout.inputs, f"{origin}: inputs", others=False)
    gold = _read_part(values["gold"], layout.gold, f"{origin}: gold", others=True)
    if "titles" in layout.gold:
        gold["titles"] = [normalize_title(title) for title in gold["titles"]]
        if len(set(gold["titles"])) != len(gold["titles"]):
            raise BadData(f"{origin}: gold: 'titles' names a title twice: {gold['titles']}.")
    return Example(values["id"], inputs, gold)


def _read_part(
    values: object, keys: Mapping[str, type], origin: str, *, others: bool
) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise BadData(f"{origin}: expected an object with {', '.join(keys)}, found {values!r:.60}.")
    part: dict[str, Any] = {**values}
    _check_keys(part, tuple(keys), origin, "it", others=others)
    for name, kind in keys.items():
        if kind is str:
            _check_text(part[name], f"{origin}: {name!r}")
        else:
            _check_texts(part[name], f"{origin}: {name!r}")
    return part


def _check_keys(
    values: Mapping[str, Any], keys: tuple[str, ...], origin: str, what: str, *, others: bool
) -> None:
    missing = [name for name in keys if name not in values]
    surplus = [] if others else [name for name in values if name not in keys]
    if missing or surplus:
        found = f"is missing {missing}" if missing else f"has unknown keys {surplus}"
        raise BadData(f"{origin}: {what} {found}; expected {', '.join(keys)}.")


def _check_text(value: object, origin: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise BadData(f"{origin} must be a text that is not empty, found {value!r:.60}.")


def _check_texts(value: object, origin: str) -> None:
    if not isinstance(value, list) or not value:
        raise BadData(f"{origin} must be a list with at least one text, found {value!r:.60}.")
    for item in value:  # pyright: ignore[reportUnknownVariableType]
        _check_text(item, f"{origin}: each item")  # pyright: ignore[reportUnknownArgumentType]
