"""What may stand on the page: plain characters only, and not too many."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from progym.leaderboard.bundle import MANIFEST, MAX_NAME, Manifest
from progym.leaderboard.findings import Finding, found

_CONTROL = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
_HIDDEN = {"Cf"}


def check_text(text: str) -> str | None:
    """Say what keeps a text from being shown; None if nothing does."""
    code = _code_of(text)
    return {
        None: None,
        "D01": "a control character",
        "D02": "a hidden or reordering character",
        "D05": f"{len(text)} characters, and 1 to {MAX_NAME} are allowed",
    }[code]


def check_shown(manifest: Manifest) -> list[Finding]:
    """Check every text of a manifest that the page shows."""
    findings: list[Finding] = []
    for field, text in _shown(manifest):
        code = _code_of(text, may_be_empty=field != "entrant.name")
        if code:
            findings.append(found(code, MANIFEST, field=field, expected="plain text", given=text))
    return findings


def _shown(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "entrant.name", manifest.entrant.name
    yield "base_model.name", manifest.base_model.name
    yield "commit", manifest.commit
    yield "started", manifest.started
    for number, strategy in enumerate(manifest.strategies):
        yield f"strategies.{number}", strategy
    for name, value in {**manifest.versions, **manifest.hardware}.items():
        yield f"{name[:MAX_NAME]}", name
        yield f"{name[:MAX_NAME]}", str(value)


def _code_of(text: str, *, may_be_empty: bool = False) -> str | None:
    kinds = {unicodedata.category(character) for character in text}
    if kinds & _CONTROL:
        return "D01"
    if kinds & _HIDDEN:
        return "D02"
    if len(text) > MAX_NAME or not (text.strip() or may_be_empty):
        return "D05"
    return None
