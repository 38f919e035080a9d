"""Findings: what is wrong with a bundle, as a code, a place, and what to do about it.

C is the container, J text and JSON, M meaning, R replay and score, B budget, D what is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BUNDLE = ""
"""The place of a finding that is about the file as a whole."""

_REPACK = "Make the bundle with `progym board pack`."
_AS_WRITTEN = "Files go in as `progym board pack` writes them; edit nothing by hand."
_AGAIN = "Pack a run of this suite that is complete, with this version of progym."

CODES: Mapping[str, tuple[str, str]] = {
    "C01": ("not a zip file, or a torn one", _REPACK),
    "C02": ("an encrypted member", "Bundles are open: pack without a password."),
    "C03": ("an absolute path", _REPACK),
    "C04": ("a path that climbs with '..'", _REPACK),
    "C05": ("a backslash or a drive letter in a path", _REPACK),
    "C06": ("a link, a folder or a device", "A bundle holds plain files only."),
    "C07": ("a name that stands twice", _REPACK),
    "C08": ("names that differ in case or form only", "Some systems can't hold both."),
    "C09": ("a name the format does not allow", "Parts are a-z, 0-9, '.', '_', '-'; at most 6."),
    "C10": ("a file over the size limit", "Fewer or shorter episodes are needed."),
    "C11": ("a bundle over the size limit", "Fewer or shorter episodes are needed."),
    "C12": ("a size that is not what it declares, or a compression beyond the plain", _REPACK),
    "C13": ("too many files", _REPACK),
    "C14": ("an archive within the bundle", "A bundle holds JSON and JSON lines only."),
    "C15": ("a file that the manifest does not call for", "Take it out and pack again."),
    "C16": ("a file that is missing", _AGAIN),
    "C17": ("content that is not what its hash or size says", _AS_WRITTEN),
    "C18": ("litter of an operating system", "Take it out and pack again."),
    "J01": ("not plain UTF-8 text", "Save as UTF-8 without BOM, NUL or carriage returns."),
    "J02": ("half of a surrogate pair", "UTF-8 can't hold it; no such text can be submitted."),
    "J03": ("a last line that is cut short", "The file was truncated; pack again."),
    "J04": ("a line that is too long", "Fewer or shorter completions are needed."),
    "J05": ("a blank line", _AS_WRITTEN),
    "J06": ("a key that stands twice in one object", _AS_WRITTEN),
    "J07": ("a number that is not finite", "Scores and counts are finite numbers."),
    "J08": ("an integer that is too large", "Integers stay below 2^53."),
    "J09": ("values nested too deeply", "At most 32 levels."),
    "J10": ("a value of the wrong type or form", _AS_WRITTEN),
    "J11": ("a field that the format does not have", "Take it out."),
    "J12": ("a field that is missing", _AS_WRITTEN),
    "J13": ("a newer format", "Update progym: this version reads formats up to 1."),
    "J14": ("an older format", "Pack the run again with this version of progym."),
    "J15": ("not a JSON object", _AS_WRITTEN),
    "M01": ("another suite, task or strategy", "Give a suite of your own with --suite."),
    "M02": ("another environment or other arguments", _AGAIN),
    "M04": ("another split", _AGAIN),
    "M05": ("other data", "The data's fingerprint must be what this installation makes."),
    "M06": ("an episode that stands twice", _AS_WRITTEN),
    "M07": ("an episode that is missing", "Every example and repeat must be there."),
    "M08": ("an episode too many", "Only the suite's examples and repeats may be there."),
    "M10": ("an episode with another seed than its own", _AGAIN),
    "M11": ("other seeds than the suite's", _AGAIN),
    "M12": ("two seeds with the same completions", "Sampled runs of two seeds differ."),
    "M13": ("an episode out of order", _AS_WRITTEN),
    "M14": ("other settings of the evaluation", _AGAIN),
    "M15": ("code with changes that are in no commit", "Commit them, then run the suite again."),
    "M16": ("another model than the suite's", _AGAIN),
    "R01": ("a prompt that the program does not make", "Prompt set and episode don't fit."),
    "R02": ("a call that the program does not make, or one that is missing", _AS_WRITTEN),
    "R03": ("a request or an answer that differs", _AS_WRITTEN),
    "R04": ("fields that the completion does not hold", _AS_WRITTEN),
    "R05": ("a reward, score or metric that differs", "Rewards follow from completions."),
    "R07": ("a mean that does not follow from the episodes", _AS_WRITTEN),
    "R08": ("a score outside [0, 1]", _AS_WRITTEN),
    "R09": ("an episode that ended otherwise", "An episode the system failed has no score."),
    "R10": ("an environment that does not repeat", "Not the bundle's fault: report it."),
    "B01": ("more rollouts than the suite grants", _AGAIN),
    "B02": ("costs that the episodes don't add up to", _AS_WRITTEN),
    "B03": ("an impossible number of tokens", "Endpoints have to report their usage."),
    "B05": ("other stages than the strategy's", _AS_WRITTEN),
    "B07": ("a time that is none, or an end before its beginning", _AS_WRITTEN),
    "D01": ("a control character in a text that is shown", "Use plain text."),
    "D02": ("a hidden or reordering character in a text that is shown", "Use plain text."),
    "D05": ("a text that is too long to be shown", "Names have at most 80 characters."),
    "D06": ("a bundle that is there already", "Keep one of the two."),
}
"""What each code means, and what to do unless the finding says better."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where it stands, what should stand there, what does."""

    code: str
    file: str
    """Within the bundle; empty for the bundle as a whole."""
    line: int | None
    field: str | None
    expected: str
    found: str
    hint: str

    @property
    def meaning(self) -> str:
        """What the code stands for."""
        return CODES[self.code][0]

    @property
    def place(self) -> str:
        """File, line and field, as far as there are any."""
        where = self.file or "the bundle"
        where += f":{self.line}" if self.line is not None else ""
        return f"{where}, {self.field}" if self.field else where


class Unusable(Exception):
    """Carries a finding out of nested reading; never leaves the leaderboard."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.code)
        self.finding = finding


def found(
    code: str,
    file: str,
    *,
    line: int | None = None,
    field: str | None = None,
    expected: object = "",
    given: object = "",
) -> Finding:
    """Make a finding with its code's hint; all of it can be printed, and long values are cut."""
    return Finding(
        code,
        printable(file),
        line,
        None if field is None else _short(field),
        _short(expected),
        _short(given),
        CODES[code][1],
    )


def printable(text: str) -> str:
    """Spell out what can't be seen: terminals and pages show what whoever sent the file wrote."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _short(value: object) -> str:
    text = printable(value if isinstance(value, str) else repr(value))
    return text if len(text) <= 160 else f"{text[:157]}..."
