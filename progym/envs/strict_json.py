"""Reading and writing JSON without surprises: no NaN, no repeated keys, no text lost.

Files are UTF-8. A lone surrogate, which a model may emit and UTF-8 can't hold, is written as its
JSON escape and read back as itself; two that make a pair are read back as the character they
stand for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from progym.envs.errors import BadData, ProgramFault

_ONLY_TEXTS = frozenset({str})


def dump_line(values: object) -> bytes:
    """Write values as one line of JSON; raises ValueError for NaN and infinities."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Inside a JSON string "\ud800" is both what this error handler writes and JSON's own escape.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def to_json_value(value: object) -> Any:
    """Copy a value as JSON holds it, tuples as lists; raises ProgramFault for other types."""
    if type(value) is list and _ONLY_TEXTS.issuperset(map(type, cast("list[object]", value))):
        return cast("list[str]", value).copy()  # what retrievers answer: worth a path of its own
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [to_json_value(item) for item in cast("Sequence[object]", value)]
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        if all(isinstance(name, str) for name, _ in items):
            return {str(name): to_json_value(item) for name, item in items}
    raise ProgramFault(f"Requests and answers of services are JSON values, found {value!r:.60}.")


def parse_object(content: bytes, origin: str) -> dict[str, Any]:
    """Read one JSON object; raises BadData, naming `origin`, for anything else."""
    values = _parse(content, origin)
    if not isinstance(values, dict):
        raise BadData(f"{origin}: expected a JSON object, found {values!r:.40}.")
    return values  # pyright: ignore[reportUnknownVariableType]


def parse_array(content: bytes, origin: str) -> list[Any]:
    """Read one JSON array; raises BadData, naming `origin`, for anything else."""
    values = _parse(content, origin)
    if not isinstance(values, list):
        raise BadData(f"{origin}: expected a JSON array, found {values!r:.40}.")
    return values  # pyright: ignore[reportUnknownVariableType]


def read_lines(path: Path, content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read JSON lines: each object with its origin, `file:line`; blank lines are skipped."""
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            origin = f"{path}:{number}"
            yield origin, parse_object(line, origin)


def _parse(content: bytes, origin: str) -> object:
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise BadData(f"{origin}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    except RecursionError as error:
        raise BadData(f"{origin}: nested too deeply.") from error
    except ValueError as error:
        raise BadData(f"{origin}: {_reason(error)}.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} stands twice in one object")
    return values


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number:.40} is too large a number")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error.msg} at column {error.colno})"
    return str(error)
