"""The pages: only recomputed numbers, honest ranks, nothing hostile, the same bytes every time."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import board_world
import pytest
from bundle_forger import Forger, make_run

from progym.benchmarks.intervals import Estimate
from progym.benchmarks.suite import Suite
from progym.leaderboard.board import arrange, rank_intervals
from progym.leaderboard.bundle import BaseWeights
from progym.leaderboard.packing import pack
from progym.leaderboard.page import build, render
from progym.leaderboard.verification import verify

HOSTILE = """<script>alert("x")</script><img src=x onerror=alert(1)> {{ 7*7 }} =cmd"""


@dataclass
class Page(HTMLParser):
    """The tables of a page as text by row, and all tags with their attributes."""

    html: str
    tables: list[list[list[str]]] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    in_cell: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell = True

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.tables[-1][-1][-1] = f"{self.tables[-1][-1][-1]} {data.strip()}".strip()

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [
            attributes[name]
            for found, attributes in self.tags
            if found == tag and name in attributes
        ]


@pytest.fixture(scope="module")
def submissions(golden: Path, run: Path, suite: Suite) -> Path:
    """A good bundle, one with a hostile name and other seeds' numbers, a forged one, and junk."""
    folder = golden.parent / "submissions"
    folder.mkdir()
    (folder / "good.zip").write_bytes(golden.read_bytes())
    pack(make_run(golden.parent / "five", five_seeds()), folder / "five.zip", entrant=HOSTILE)
    (folder / "forged.zip").write_bytes(golden.read_bytes())
    forger = Forger(folder / "forged.zip", suite)
    forger.line(1, lambda line: line.update(reward=0.9))
    forger.relist()
    forger.write()
    (folder / "jünk\u202e<b>.zip").write_bytes(b"junk")
    return folder


def five_seeds() -> Suite:
    return board_world.make_suite(name="five", seeds=range(5), examples=3)


@pytest.fixture(scope="module")
def site(submissions: Path, suite: Suite) -> Path:
    out = submissions.parent / "site"
    build(submissions, out, suites=[suite, five_seeds()])
    return out


@pytest.fixture(scope="module")
def index(site: Path) -> Page:
    return Page((site / "index.html").read_text("utf-8"))


def percent(estimate: dict[str, Any]) -> str:
    value, low, high = (f"{100 * estimate[key]:.1f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def test_the_table_shows_the_numbers_of_results_json(index: Page, results: dict[str, Any]):
    shown = {row[0].split()[0]: row for row in index.tables[1][1:]}

    for number, mean in enumerate(results["mean_over_tasks"]):
        row = shown[mean["strategy"]]
        scores = [task["rows"][number]["score"]["estimate"] for task in results["tasks"]]
        assert [row[2], row[4], row[5]] == [percent(mean["score"]), *map(percent, scores)]
    rollouts = sum(task["rows"][1]["optimization"]["rollouts"] for task in results["tasks"])
    assert shown["po"][6] == str(rollouts)


def test_json_and_csv_hold_what_the_page_shows(site: Path, index: Page):
    board = json.loads((site / "leaderboard.json").read_text())
    lines = list(csv.DictReader(io.StringIO((site / "leaderboard.csv").read_text("utf-8"))))

    shown = [row[2].split()[0] for table in index.tables for row in table[1:]]
    entries = [entry for table in board["tables"] for entry in table["entries"]]
    means = [line for line in lines if line["task"] == "mean over tasks"]
    assert [f"{100 * entry['mean']['value']:.1f}" for entry in entries] == shown
    assert [f"{100 * float(line['score']):.1f}" for line in means] == shown
    assert len(lines) == sum(1 + len(entry["tasks"]) for entry in entries)


def test_a_rebuild_is_the_same_to_the_byte(site: Path, submissions: Path, suite: Suite):
    again = site.parent / "again"

    build(submissions, again, suites=[five_seeds(), suite])

    names = sorted(path.name for path in site.iterdir())
    assert names == ["index.html", "leaderboard.csv", "leaderboard.json", "verified.html"]
    assert all((site / name).read_bytes() == (again / name).read_bytes() for name in names)


def test_hostile_names_are_shown_and_do_nothing(site: Path):
    for name in ("index.html", "verified.html"):
        html = (site / name).read_text("utf-8")
        page = Page(html)
        assert "<script>alert" not in html
        assert "\u202e" not in html
        assert len([tag for tag, _ in page.tags if tag == "script"]) == 1
        assert not [tag for tag, attributes in page.tags if tag == "img" or "onerror" in attributes]
        assert "{{ 7*7 }}" in html


def test_nothing_is_asked_of_the_outside(site: Path):
    for name in ("index.html", "verified.html"):
        page = Page((site / name).read_text("utf-8"))
        links = page.attributes("a", "href")
        assert all(
            re.match(r"(index|verified)\.html|leaderboard\.(json|csv)\Z", link or "")
            for link in links
        )
        assert not any("src" in attributes for _, attributes in page.tags)
        assert not [tag for tag, _ in page.tags if tag == "link"]
        policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
        assert policy is not None
        assert policy.startswith("default-src 'none'")


def test_refused_bundles_are_named_with_their_reasons_and_not_ranked(site: Path, index: Page):
    html = (site / "verified.html").read_text("utf-8")

    assert len(index.tables) == 2
    assert "forged.zip" not in index.html
    refused = Page(html).tables[0]
    assert refused[1][0].startswith("R05")
    assert refused[1][1:] == ["runs/toy/po/seed-1/episodes.jsonl:1, reward", "0.5", "0.9"]
    assert "jünk\\u202e&lt;b&gt;.zip" in html


def test_suites_do_not_share_a_table_and_few_seeds_are_provisional(site: Path):
    five, toys = json.loads((site / "leaderboard.json").read_text())["tables"]

    assert (five["suite"]["name"], toys["suite"]["name"]) == ("five", "toys")
    assert [entry["provisional"] for entry in five["entries"]] == [False, False]
    assert [entry["provisional"] for entry in toys["entries"]] == [True, True]


def test_tables_say_what_their_headings_head(index: Page):
    headings = [attributes for tag, attributes in index.tags if tag == "th"]

    assert {attributes["scope"] for attributes in headings} == {"col", "row"}
    assert [tag for tag, _ in index.tags].count("caption") == 2
    assert index.attributes("th", "aria-sort") == ["descending", "descending"]


def test_the_same_bundle_twice_is_refused_the_second_time(golden: Path, suite: Suite):
    once = verify(golden, suites=[suite])

    board = arrange([once, once])

    assert [v.outcome for v in board.verifications] == ["accepted", "refused"]
    assert board.verifications[1].findings[0].code == "D06"


def test_other_base_weights_do_not_share_a_table(golden: Path, suite: Suite):
    once = verify(golden, suites=[suite])
    assert once.bundle is not None
    model = BaseWeights(name="gold", weights_sha256="0" * 64)
    changes = {"submission_id": "other", "files": [], "base_model": model}
    manifest = once.bundle.manifest.model_copy(update=changes)
    other = replace(once, name="other.zip", bundle=replace(once.bundle, manifest=manifest))

    board = arrange([once, other])

    assert [table.weights for table in board.tables] == [None, "0" * 64]
    assert f"<code>{'0' * 64}</code>" in render(board)["index.html"]


def test_a_board_without_bundles_says_so():
    assert "no verified bundles yet" in render(arrange([]))["index.html"]


def test_cells_that_a_spreadsheet_would_run_are_quoted(run: Path, suite: Suite, tmp_path: Path):
    pack(run, tmp_path / "a.zip", entrant="=1+1")

    lines = render(arrange([verify(tmp_path / "a.zip", suites=[suite])]))["leaderboard.csv"]

    assert {line["entrant"] for line in csv.DictReader(io.StringIO(lines))} == {"'=1+1"}


def estimate(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, "satterthwaite")


def test_ranks_are_what_the_intervals_leave_open():
    above, middle, lower, below = (0.8, 0.9), (0.4, 0.6), (0.3, 0.5), (0.0, 0.1)

    ranks = rank_intervals([estimate(*ends) for ends in (above, middle, lower, below)])

    assert ranks == [(1, 1), (2, 3), (2, 3), (4, 4)]
