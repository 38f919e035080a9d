"""What is shown of a run: tables, files, the page, and what is withheld."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fake_runs import STRATEGIES, fake_cell, fake_suite, write_fake_run
from typer.testing import CliRunner

from progym.benchmarks.cell_record import CellInputs, read_cell
from progym.benchmarks.cells import Cell, cells_of
from progym.benchmarks.evaluation import mean_by_example
from progym.benchmarks.export import to_csv, to_json, to_markdown_page, write_results
from progym.benchmarks.intervals import difference, mean_score
from progym.benchmarks.results import Results
from progym.benchmarks.summary import summarize
from progym.benchmarks.tables import grids, remarks, short, show_gain, show_score
from progym.cli.bench import app
from progym.envs.errors import BadData, DataUnavailable, UnknownName

SUITE = fake_suite()
SMALL = fake_suite(tasks=1, examples=20)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    folder = tmp_path_factory.mktemp("run")
    write_fake_run(folder, SUITE)
    return folder, write_results(folder)


def scores_of(folder: Path, task: str, strategy: str) -> np.ndarray:
    cells = [c for c in cells_of(SUITE) if (c.task, c.strategy) == (task, strategy)]
    return np.array([read_cell(cell.folder(folder) / "cell.json").scores for cell in cells])


def test_a_rows_numbers_are_the_intervals_of_its_cells(written: tuple[Path, Results]):
    folder, results = written
    row = results.tasks[1].row("mmgrpo")
    ours, base = (scores_of(folder, "hover4hop", name) for name in ("mmgrpo", "vanilla"))
    assert row.score is not None
    assert row.gain is not None
    assert row.score.estimate == mean_score(ours)
    assert row.gain.estimate == difference(ours, base)
    assert row.gain.bootstrap.low < row.gain.estimate.value < row.gain.bootstrap.high


def test_gains_can_be_over_any_strategy_of_the_run(written: tuple[Path, Results]):
    results = summarize(written[0], baseline="mmgrpo")
    po, base = results.tasks[1].row("po"), results.tasks[1].row("mmgrpo")
    arms = (scores_of(written[0], "hover4hop", name) for name in ("po", "mmgrpo"))
    assert po.gain is not None
    assert po.gain.estimate == difference(*arms)
    assert base.gain is None
    assert "gain over mmgrpo" in to_markdown_page(results)
    assert results.tasks[1].interactions == written[1].tasks[1].interactions  # over vanilla still


def test_a_baseline_that_the_run_does_not_have_is_refused_with_the_nearest(
    written: tuple[Path, Results],
):
    with pytest.raises(UnknownName, match="Did you mean 'mmgrpo'"):
        summarize(written[0], baseline="mmgrp")


def test_showing_a_run_takes_a_baseline(tmp_path: Path):
    write_fake_run(tmp_path, SMALL)
    shown = CliRunner().invoke(app, ["show", str(tmp_path), "--baseline", "po", "--json"])
    rows = json.loads(shown.stdout)["tasks"][0]["rows"]
    assert [row["gain"] is None for row in rows] == [False, True, False, False]
    assert json.loads((tmp_path / "results.json").read_text())["baseline"] == "po"


def test_the_table_of_all_tasks_holds_each_tasks_own_numbers(written: tuple[Path, Results]):
    results = written[1]
    all_tasks = next(g for g in grids(results, wide=True) if g.title == "All tasks")
    cells = all_tasks.lines[2].cells
    row, suite = results.tasks[1].row("mmgrpo"), results.suite[2]
    assert row.score is not None
    assert row.gain is not None
    assert suite.gain is not None
    assert cells[3:5] == (show_score(row.score.estimate), show_gain(row.gain.estimate))
    assert cells[-2] == show_gain(suite.gain)
    assert len(cells) == len(all_tasks.columns)


def test_a_cells_record_reads_back_as_it_was(written: tuple[Path, Results]):
    cell = cells_of(SUITE)[3]
    assert read_cell(cell.folder(written[0]) / "cell.json") == fake_cell(SUITE, cell)


def test_every_input_of_a_cell_changes_its_identity():
    inputs = fake_cell(SUITE, cells_of(SUITE)[1]).inputs
    changes = {
        "env_id": "Other-v0",
        "env_kwargs": {"data": "hub"},
        "fingerprint": "other",
        "examples": inputs.examples[1:],
        "evaluation": {**inputs.evaluation, "repeats": 2},
        "model": "smollm2",
        "stages": (),
        "policy": "other",
        "seed": 9,
        "versions": {},
    }
    assert {field.name for field in fields(CellInputs)} == set(changes)
    for name, value in changes.items():
        assert replace(inputs, **{name: value}).digest != inputs.digest


def test_composing_is_judged_by_its_interaction(written: tuple[Path, Results]):
    task = written[1].tasks[0]
    (entry,) = task.interactions
    values = {row.strategy: row.score.estimate.value for row in task.rows if row.score}
    vanilla, po, mmgrpo, composed = (values[name] for name in STRATEGIES)
    assert entry.strategy == "po -> mmgrpo"
    assert entry.comparison.estimate.value == pytest.approx(composed - mmgrpo - po + vanilla)


def test_only_an_interval_that_overlaps_no_other_stands_out(tmp_path: Path):
    write_fake_run(tmp_path, SMALL)
    assert not any(row.stands_out for task in summarize(tmp_path).tasks for row in task.rows)
    for cell in cells_of(SMALL):
        record = fake_cell(SMALL, cell)
        if cell.strategy == "mmgrpo":
            replace(record, scores=tuple(1.0 for _ in record.scores)).write(tmp_path)
    best = [row.strategy for row in summarize(tmp_path).tasks[0].rows if row.stands_out]
    assert best == ["mmgrpo"]


def test_a_strategy_that_is_not_dominated_is_marked(written: tuple[Path, Results]):
    rows = written[1].tasks[0].rows
    assert rows[0].is_on_front  # nothing is cheaper than vanilla
    assert rows[3].is_on_front  # nothing scores higher than the composed


def test_a_cell_with_faults_leaves_its_strategy_without_a_score(tmp_path: Path):
    write_fake_run(tmp_path, SMALL)
    fake_cell(SMALL, Cell("banking77", "po", 1), faults=2).write(tmp_path)
    results = summarize(tmp_path)
    row = results.tasks[0].row("po")
    assert (row.score, row.gain, row.faults) == (None, None, 2)
    assert results.suite[1].score is None
    assert "po has no score: the system failed 2 of its episodes" in to_markdown_page(results)
    assert results.tasks[0].interactions == ()


def test_a_missing_seed_is_said_and_gains_wait_for_it(tmp_path: Path):
    write_fake_run(tmp_path, SUITE, skip=[Cell("banking77", "vanilla", 2)])
    results = summarize(tmp_path)
    page = to_markdown_page(results)
    assert "vanilla: 2 of 3 seeds are done" in page
    assert all(row.gain is None for row in results.tasks[0].rows)
    assert all(row.gain is not None for row in results.tasks[1].rows[1:])


def test_without_a_single_cell_of_a_strategy_its_line_is_empty(tmp_path: Path):
    write_fake_run(tmp_path, SMALL, skip=[c for c in cells_of(SMALL) if c.strategy == "vanilla"])
    write_results(tmp_path)
    vanilla, po, *_ = csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text()))
    assert (vanilla["seeds_done"], vanilla["score"], vanilla["optimization_rollouts"]) == (
        "0",
        "",
        "",
    )
    assert int(po["optimization_rollouts"]) > 0


def test_only_complete_strategies_are_awarded_bold_or_a_place_on_the_front(tmp_path: Path):
    write_fake_run(tmp_path, SMALL, skip=[Cell("banking77", "mmgrpo", 2)])
    for cell in cells_of(SMALL)[:8]:
        record = fake_cell(SMALL, cell)
        if cell.strategy == "mmgrpo":
            replace(record, scores=tuple(1.0 for _ in record.scores)).write(tmp_path)
    row = summarize(tmp_path).tasks[0].row("mmgrpo")
    assert (row.seeds_done, row.stands_out, row.is_on_front) == (2, False, False)


def test_one_seed_alone_says_that_it_covers_examples_only(tmp_path: Path):
    write_fake_run(tmp_path, fake_suite(tasks=1, seeds=[0]))
    assert "intervals cover examples only" in to_markdown_page(summarize(tmp_path))


def test_an_empty_run_says_so(tmp_path: Path):
    write_fake_run(tmp_path, SMALL, skip=cells_of(SMALL))
    with pytest.raises(DataUnavailable, match="no finished cells"):
        summarize(tmp_path)


@pytest.mark.parametrize("what", ["fingerprint", "examples"])
def test_cells_on_other_data_never_share_a_table(tmp_path: Path, what: str):
    write_fake_run(tmp_path, SMALL)
    record = fake_cell(SMALL, Cell("banking77", "po", 1))
    changed = {"fingerprint": "other", "examples": record.inputs.examples[::-1]}[what]
    replace(record, inputs=replace(record.inputs, **{what: changed})).write(tmp_path)
    with pytest.raises(BadData, match="can't be compared"):
        summarize(tmp_path)


def test_a_cell_of_another_suite_is_refused(tmp_path: Path):
    write_fake_run(tmp_path, SMALL)
    replace(fake_cell(SMALL, Cell("banking77", "po", 1)), suite_digest="x").write(tmp_path)
    with pytest.raises(BadData, match="another suite"):
        summarize(tmp_path)


def test_the_same_cells_give_the_same_files_byte_for_byte(written: tuple[Path, Results]):
    folder, _ = written
    names = ["results.json", "results.csv", "results.md", "report.html"]
    names += ["curves.svg", "curves.png", "pareto.svg", "pareto.png"]
    before = {name: (folder / name).read_bytes() for name in names}
    write_results(folder)
    assert before == {name: (folder / name).read_bytes() for name in names}


def test_json_and_csv_hold_what_the_table_shows(written: tuple[Path, Results]):
    folder, results = written
    values = json.loads((folder / "results.json").read_text())
    rows = list(csv.DictReader(io.StringIO(to_csv(results))))
    assert values == json.loads(json.dumps(to_json(results)))
    assert len(rows) == 12
    first = values["tasks"][0]["rows"][1]["score"]["estimate"]
    assert float(rows[1]["score"]) == first["value"]
    assert f"{100 * first['value']:.1f} [{100 * first['low']:.1f}" in to_markdown_page(results)


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._open = tag
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [v for name, v in attrs if name in ("src", "href", "xlink:href") and v]

    def handle_data(self, data):
        if self._open in ("td", "th") and data.strip():
            self.cells.append(data)


def test_the_page_shows_every_number_of_the_tables_and_needs_no_network(
    written: tuple[Path, Results],
):
    folder, results = written
    page = _Page((folder / "report.html").read_text())
    shown = [
        cell for grid in grids(results, wide=True) for line in grid.lines for cell in line.cells
    ]
    assert [cell for cell in page.cells if cell in set(shown)] == shown
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))


def test_hostile_names_are_text_on_the_page(tmp_path: Path):
    evil = "<script>alert(1)</script>"
    suite = replace(SMALL, description=evil, model=evil)
    write_fake_run(tmp_path, suite)
    write_results(tmp_path)
    assert evil not in (tmp_path / "report.html").read_text()


def test_embedded_worlds_are_called_a_testbed(written: tuple[Path, Results]):
    assert any("no evidence" in remark for remark in remarks(written[1]))
    assert "no evidence" in (written[0] / "report.html").read_text()


def test_the_papers_table_is_labelled_as_no_comparison(written: tuple[Path, Results]):
    text = to_markdown_page(written[1])
    assert "69.1 ± 1.8" in text
    assert "no comparison with the numbers here" in text


def test_repeats_are_averaged_and_a_repeat_without_score_leaves_none():
    assert mean_by_example([1.0, 0.0, None, 1.0, 0.5, 0.5], 2) == (0.5, None, 0.5)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00k"),
        (12_400, "12.4k"),
        (999_600, "1.00M"),
        (2e9, "2.00G"),
    ],
)
def test_counts_are_written_with_three_digits(number: float, text: str):
    assert short(number) == text
