"""Every bundle that ships verifies on this installation."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_shipped_bundles_stay_small():
    assert sum(path.stat().st_size for path in SHIPPED) < 10_000_000
