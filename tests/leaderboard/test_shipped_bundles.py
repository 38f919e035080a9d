"""Every bundle that ships verifies on this installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from progym.benchmarks.intervals import Estimate
from progym.leaderboard.page import SUBMISSIONS
from progym.leaderboard.verification import verify

SHIPPED = sorted(SUBMISSIONS.glob("*.zip"))


@pytest.mark.skipif(not SHIPPED, reason="no bundle ships yet")
@pytest.mark.parametrize("bundle", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_bundle_verifies(bundle: Path):
    verification = verify(bundle)

    assert (verification.outcome, verification.findings, verification.reason) == (
        "accepted",
        (),
        "",
    )


def percent(estimate: Estimate, sign: str = "") -> str:
    value, low, high = (100 * v for v in (estimate.value, estimate.low, estimate.high))
    return f"{value:{sign}.1f} [{low:.1f}, {high:.1f}]"


def test_the_readmes_table_is_what_the_demos_episodes_give():
    tasks = ("banking77", "hover", "papillon")
    wanted: list[list[str]] = []
    for entry in verify(SUBMISSIONS / "demo.zip").entries:
        scores = {score.task: percent(score.score) for score in entry.tasks}
        gain = percent(entry.gain, "+") if entry.gain else ""
        wanted.append([entry.strategy, *(scores[t] for t in tasks), percent(entry.mean), gain])
    lines = (Path(__file__).parents[2] / "README.md").read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| strategy | Banking77"))
    rows = [line.strip("|").split("|") for line in lines[start + 2 : start + 2 + len(wanted)]]
    assert [[cell.strip() for cell in row] for row in rows] == wanted


def test_shipped_bundles_stay_small():
    assert sum(path.stat().st_size for path in SHIPPED) < 10_000_000
