"""Writes the board: static pages that need no server, no script and nothing from outside."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from progym.benchmarks.intervals import Estimate
from progym.benchmarks.pages import templates_of
from progym.benchmarks.suite import Suite
from progym.benchmarks.tables import short
from progym.envs.errors import DataUnavailable
from progym.leaderboard.board import SEEDS_TO_RANK, Board, arrange
from progym.leaderboard.downloads import TIER, to_csv, to_json
from progym.leaderboard.execution import Report
from progym.leaderboard.findings import CODES, printable
from progym.leaderboard.packing import write_file
from progym.leaderboard.verification import Verification, verify

SUBMISSIONS = Path(__file__).parent / "submissions"
"""The bundles that ship."""

_SHOWN_FINDINGS = 20


@dataclass(frozen=True)
class Built:
    """What was written, and what became of the bundles."""

    folder: Path
    board: Board

    @property
    def refused(self) -> tuple[Verification, ...]:
        """The bundles that are not ranked, those that could not be checked included."""
        return tuple(v for v in self.board.verifications if v.outcome != "accepted")


def build(
    submissions: Path,
    out: Path,
    *,
    suites: Sequence[Suite] = (),
    report: Report | None = None,
) -> Built:
    """Verify the bundles of a folder and write their board; equal bundles, equal bytes.

    Args:
        submissions: The folder with the bundles (`*.zip`).
        out: Where index.html, verified.html, leaderboard.json and leaderboard.csv go.
        suites: Suites to know besides those that ship.
        report: Told of progress.
    """
    if not submissions.is_dir():
        raise DataUnavailable(f"{submissions} is not a folder. Give one with --submissions.")
    paths = sorted(submissions.glob("*.zip"))
    board = arrange([verify(path, suites=suites, report=report) for path in paths])
    for name, content in render(board).items():
        write_file(out / name, content.encode("utf-8"))
    return Built(out, board)


def render(board: Board) -> dict[str, str]:
    """Render all files of the board by name; every text in them is escaped."""
    environment = templates_of("progym.leaderboard")
    environment.filters.update(
        percent=_percent, gain=_gain, short=short, printable=printable, bar=_bar
    )
    css, js = _asset("board.css"), _asset("board.js")
    common = {
        "board": board,
        "css": Markup(css),  # ours, and hashed below: nothing else runs or styles
        "js": Markup(js),
        "policy": (
            f"default-src 'none'; style-src '{_csp_hash(css)}'; script-src '{_csp_hash(js)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        "tier": TIER,
        "seeds_to_rank": SEEDS_TO_RANK,
        "codes": CODES,
        "shown_findings": _SHOWN_FINDINGS,
    }
    pages = {
        name: environment.get_template(f"{name}.j2").render(common)
        for name in ("index.html", "verified.html")
    }
    return {**pages, "leaderboard.json": to_json(board), "leaderboard.csv": to_csv(board)}


def _asset(name: str) -> str:
    return (files("progym.leaderboard") / "templates" / name).read_text("utf-8")


def _csp_hash(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _gain(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")  # noqa: RUF001 - the minus sign, as wide as the plus


def _bar(estimate: Estimate) -> Markup:
    """Draw an interval on a scale from 0 to 100, with a tick at the value."""
    low, value, high = (100 * x for x in (estimate.low, estimate.value, estimate.high))
    return Markup(
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rail" x="0" y="2.5" width="100" height="1"/>'
        f'<rect class="span" x="{low:.2f}" y="2" width="{high - low:.2f}" height="2"/>'
        f'<rect class="tick" x="{value - 0.8:.2f}" y="0" width="1.6" height="6"/></svg>'
    )
