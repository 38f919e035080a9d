"""The one parser: a completion becomes a module's output fields, as far as it goes.

Whatever a model writes is data: nothing here raises. What could not be read is named in `error`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from progym.envs.module import Field, Module


@dataclass(frozen=True)
class Parsed:
    """The output fields that were read, and what is wrong with the completion, if anything."""

    fields: Mapping[str, str]
    error: str | None = None
    missing: tuple[str, ...] = ()
    """Names of the output fields that were not read."""


def parse(module: Module, text: str) -> Parsed:
    """Read `Label: value` lines.

    A value runs to the next output label; a repeated label ends the reply.
    """
    fields: dict[str, str] = {}
    problems: list[str] = []
    sections = _sections(module, text)
    for field, value in sections:
        accepted = _accept(module, field, value)
        if accepted is None:
            problems.append(_complain(field, value))
        else:
            fields[field.name] = accepted
    if len(fields) == len(module.outputs):
        return Parsed(fields)
    named = {field.name for field, _ in sections}
    problems += [f"no '{f.label}:' line" for f in module.outputs if f.name not in named]
    missing = tuple(field.name for field in module.outputs if field.name not in fields)
    return Parsed(fields, "; ".join(problems), missing)


def _sections(module: Module, text: str) -> list[tuple[Field, str]]:
    pattern, by_label = _labels(module)
    sections: list[tuple[Field, str]] = []
    seen: set[str] = set()
    field, start = None, 0
    for match in pattern.finditer(text):
        if field is not None:
            sections.append((field, text[start : match.start()]))
        field, start = by_label[match["label"].lower()], match.end()
        if field.name in seen:
            return sections
        seen.add(field.name)
    if field is not None:
        sections.append((field, text[start:]))
    return sections


@cache
def _labels(module: Module) -> tuple[re.Pattern[str], dict[str, Field]]:
    by_label = {field.label.lower(): field for field in module.outputs}
    names = "|".join(re.escape(label) for label in sorted(by_label, key=len, reverse=True))
    # Markdown around a label ("**Label:**", "- Label:") is common and means nothing; stars after
    # the label are part of it only where the same stars stand before it. Possessive quantifiers
    # keep a completion of nothing but blanks from taking quadratic time. Labels are ASCII:
    # Unicode's rules of case would let a dotless i stand for an i.
    pattern = re.compile(
        rf"^[ \t>#-]*+(?:\*[ \t]++)?+(?P<stars>\*{{0,3}})[ \t]*+(?P<label>{names})"
        rf"[ \t]*+(?:(?P=stars)[ \t]*+)?:(?P=stars)?[ \t]*+",
        re.ASCII | re.IGNORECASE | re.MULTILINE,
    )
    return pattern, by_label


@cache
def _choices(module: Module) -> dict[str, dict[str, str]]:
    return {
        field.name: {choice.casefold(): choice for choice in field.choices}
        for field in module.outputs
    }


def _accept(module: Module, field: Field, value: str) -> str | None:
    value = value.strip()
    if field.choices:
        choices = _choices(module)[field.name]
        plain = value.casefold()
        return choices.get(plain) or choices.get(plain.strip("\"'`*<>. \t\n"))
    return value or None


def _complain(field: Field, value: str) -> str:
    if not value.strip():
        return f"'{field.label}:' is empty"
    return f"'{field.label}: {value.strip()[:60]}' is not one of its {len(field.choices)} choices"
