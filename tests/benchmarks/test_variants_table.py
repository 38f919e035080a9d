"""The table in docs/variants.md is what the kept results say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from progym.benchmarks.intervals import Estimate
from progym.benchmarks.suite import load_suite
from progym.benchmarks.tables import show_gain, show_score

DOCS = Path(__file__).parents[2] / "docs"
KEPT = DOCS / "variants.json"

pytestmark = pytest.mark.skipif(not KEPT.exists(), reason="no results are kept yet")


@pytest.fixture
def kept() -> dict[str, Any]:
    return json.loads(KEPT.read_text("utf-8"))


def estimate(values: dict[str, Any]) -> Estimate:
    return Estimate(*(values[name] for name in ("value", "low", "high", "method")))


def cells_of(own: dict[str, Any]) -> list[str]:
    gain = show_gain(estimate(own["gain"]["estimate"])) if own["gain"] else "-"
    return [show_score(estimate(own["score"]["estimate"])), gain]


def test_the_results_are_those_of_the_suite_that_ships(kept: dict[str, Any]):
    suite = load_suite("variants")
    assert kept["suite"]["digest"] == suite.digest
    assert (kept["baseline"], kept["seeds"]) == ("mmgrpo", list(suite.seeds))


def test_the_table_is_what_the_results_say(kept: dict[str, Any]):
    wanted: list[list[str]] = []
    for position, mean in enumerate(kept["mean_over_tasks"]):
        own = [cell for task in kept["tasks"] for cell in cells_of(task["rows"][position])]
        gain = show_gain(estimate(mean["gain"])) if mean["gain"] else "-"
        wanted.append([mean["strategy"], *own, show_score(estimate(mean["score"])), gain])
    lines = (DOCS / "variants.md").read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| strategy "))
    rows = [line.strip("|").split("|") for line in lines[start + 2 : start + 2 + len(wanted)]]
    assert [[cell.strip() for cell in row][:-1] for row in rows] == wanted


def test_the_one_difference_holds_when_corrected_for_all_comparisons(kept: dict[str, Any]):
    gains = {
        (task["task"], row["strategy"]): row["gain"]["estimate"]
        for task in kept["tasks"]
        for row in task["rows"]
        if row["gain"] and row["strategy"] != "vanilla"
    }
    chances = {name: chance_of(gain) for name, gain in gains.items()}
    assert len(chances) == 12
    likeliest = min(chances, key=chances.__getitem__)
    assert likeliest == ("hover", "mmgrpo@to_go")
    text = (DOCS / "variants.md").read_text("utf-8")
    p, corrected = chances[likeliest], 12 * chances[likeliest]
    assert f"Its p is {p:.4f}" in text
    assert f"({corrected:.3f}, Bonferroni)" in text
    assert all(12 * chance > 0.05 for name, chance in chances.items() if name != likeliest)


def chance_of(gain: dict[str, Any]) -> float:
    """Give how likely a difference as large is where there is none (the interval's own t)."""
    variance = sum(part["variance"] for part in gain["components"])
    df = variance**2 / sum(part["variance"] ** 2 / part["df"] for part in gain["components"])
    return float(2 * stats.t.sf(abs(gain["value"]) / variance**0.5, df))
