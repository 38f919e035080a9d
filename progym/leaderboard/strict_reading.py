"""Reads text that nobody vouches for: what `json` lets pass, such as NaN, has a code here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, cast

from pydantic import BaseModel, ValidationError

from progym.leaderboard.bundle import MAX_LINE_BYTES, SCHEMA_VERSION
from progym.leaderboard.findings import Finding, Unusable, found

MAX_DEPTH = 32
MAX_INTEGER = 2**53

_BOM = b"\xef\xbb\xbf"
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_CODES = {
    "missing": "J12",
    "extra_forbidden": "J11",
    "greater_than_equal": "B03",
    "less_than_equal": "R08",
}
T = TypeVar("T", bound=BaseModel)


def read_document(content: bytes, file: str, model: type[T]) -> tuple[T | None, list[Finding]]:
    """Read a file that is one JSON object."""
    try:
        text = decode(content, file)
        values = parse(text, file, None)
    except Unusable as error:
        return None, [error.finding]
    return validate(values, file, None, model)


def read_records(content: bytes, file: str, model: type[T]) -> tuple[list[T], list[Finding]]:
    """Read a file of JSON lines; findings name their line, counted from 1."""
    try:
        text = decode(content, file)
    except Unusable as error:
        return [], [error.finding]
    records: list[T] = []
    findings: list[Finding] = []
    lines = text.split("\n")
    if lines.pop():
        expected = "a line feed at the end"
        findings.append(found("J03", file, line=len(lines) + 1, expected=expected, given="none"))
    for number, line in enumerate(lines, 1):
        try:
            values = _parse_line(line, file, number)
        except Unusable as error:
            findings.append(error.finding)
            continue
        record, wrong = validate(values, file, number, model)
        findings += wrong
        if record is not None:
            records.append(record)
    return records, findings


def decode(content: bytes, file: str) -> str:
    """Decode strict UTF-8; raises Unusable."""
    for mark, name in ((_BOM, "a byte order mark"), (b"\0", "NUL"), (b"\r", "a carriage return")):
        at = content.find(mark)
        if at >= 0 and (mark != _BOM or at == 0):
            line = content.count(b"\n", 0, at) + 1
            raise Unusable(found("J01", file, line=line, expected="plain text", given=name))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        given = f"byte {content[error.start]:#04x}"
        raise Unusable(found("J01", file, line=line, expected="UTF-8", given=given)) from error


def parse(text: str, file: str, line: int | None) -> dict[str, Any]:
    """Parse one JSON object; raises Unusable."""
    refuse = _refuser(file, line)
    try:
        values: object = json.loads(
            text,
            object_pairs_hook=lambda pairs: _unique(pairs, refuse),
            parse_constant=lambda name: refuse("J07", "a finite number", name),
            parse_float=lambda digits: _float(digits, refuse),
            parse_int=lambda digits: _integer(digits, refuse),
        )
    except json.JSONDecodeError as error:
        at = line or error.lineno
        raise Unusable(
            found("J10", file, line=at, expected="JSON", given=f"{error.msg}, column {error.colno}")
        ) from error
    except RecursionError:
        refuse("J09", f"at most {MAX_DEPTH} levels", "more")
    if not isinstance(values, dict):
        refuse("J15", "an object", type(values).__name__)
    read = cast("dict[str, Any]", values)
    _check_depth(read, refuse)
    if _ESCAPED_SURROGATE.search(text):
        _check_surrogates(read, refuse)
    return read


def validate(
    values: dict[str, Any], file: str, line: int | None, model: type[T]
) -> tuple[T | None, list[Finding]]:
    """Hold values against a format; every field that is wrong is a finding."""
    version = values.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, int) and version != SCHEMA_VERSION:
        code = "J13" if version > SCHEMA_VERSION else "J14"
        wrong = found(
            code, file, line=line, field="schema_version", expected=SCHEMA_VERSION, given=version
        )
        return None, [wrong]
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        return None, [
            found(
                _code_of(detail["type"], detail["loc"]),
                file,
                line=line,
                field=".".join(str(part) for part in detail["loc"]),
                expected=detail["msg"],
                given="" if detail["type"] == "missing" else detail["input"],
            )
            for detail in details
        ]


Refuse = Callable[[str, str, str], NoReturn]


def _refuser(file: str, line: int | None) -> Refuse:
    def refuse(code: str, expected: str, given: str) -> NoReturn:
        raise Unusable(found(code, file, line=line, expected=expected, given=given))

    return refuse


def _parse_line(line: str, file: str, number: int) -> dict[str, Any]:
    refuse = _refuser(file, number)
    if not line.strip():
        refuse("J05", "an episode", "a blank line")
    if len(line) > MAX_LINE_BYTES:
        refuse("J04", f"at most {MAX_LINE_BYTES} characters", f"{len(line)}")
    return parse(line, file, number)


def _unique(pairs: list[tuple[str, Any]], refuse: Refuse) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        refuse("J06", "each key once", next(name for name in names if names.count(name) > 1))
    return values


def _float(digits: str, refuse: Refuse) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        refuse("J07", "a finite number", digits)
    return value


def _integer(digits: str, refuse: Refuse) -> int:
    if len(digits) > 20 or abs(int(digits)) > MAX_INTEGER:
        refuse("J08", "an integer below 2^53", digits)
    return int(digits)


def _check_depth(values: object, refuse: Refuse) -> None:
    level: list[object] = [values]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    refuse("J09", f"at most {MAX_DEPTH} levels", "more")


def _check_surrogates(values: object, refuse: Refuse) -> None:
    level: list[object] = [values]
    while level:
        for value in level:
            if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
                refuse("J02", "text that UTF-8 can hold", value)
        level = [inner for value in level for inner in (*_inside(value), *_keys(value))]


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast("dict[str, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else []


def _keys(value: object) -> list[object]:
    return list(cast("dict[object, object]", value)) if isinstance(value, dict) else []


def _code_of(kind: str, place: tuple[int | str, ...]) -> str:
    code = _CODES.get(kind, "J10")
    if code in ("B03", "R08"):
        return "R08" if place[-1] == "score" else "B03"
    return "R09" if place[-1:] == ("status",) else code
