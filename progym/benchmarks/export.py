"""Writes what a run shows into its folder: results.json, .csv, .md, pictures and report.html."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from progym.agents.notation import VANILLA
from progym.agents.stage import Cost
from progym.agents.storage import write_atomic, write_json
from progym.benchmarks.grid import to_markdown
from progym.benchmarks.plots import draw_pictures
from progym.benchmarks.report import render_report
from progym.benchmarks.results import Comparison, Results, Row, TaskResult
from progym.benchmarks.summary import summarize
from progym.benchmarks.tables import grids, remarks


def write_results(folder: Path, *, baseline: str = VANILLA) -> Results:
    """Summarize a run into its folder, gains over `baseline`; same cells, same bytes."""
    results = summarize(folder, baseline=baseline)
    pictures = draw_pictures(results)
    write_json(folder / "results.json", to_json(results))
    write_atomic(folder / "results.csv", to_csv(results))
    write_atomic(folder / "results.md", to_markdown_page(results))
    for picture in pictures:
        write_atomic(folder / f"{picture.name}.svg", picture.svg)
        write_atomic(folder / f"{picture.name}.png", picture.png)
    write_atomic(folder / "report.html", render_report(results, pictures))
    return results


def to_json(results: Results) -> dict[str, Any]:
    """Give the results as plain JSON values; scores in [0, 1]."""
    info = results.run.info
    return {
        "schema": 1,
        "suite": {
            "name": info.suite["name"],
            "version": info.suite["version"],
            "digest": info.digest,
        },
        "model": info.suite["model"],
        "seeds": list(results.run.seeds),
        "baseline": results.baseline,
        "versions": dict(info.versions),
        "commit": info.commit,
        "hardware": dict(info.hardware),
        "tasks": [asdict(task) for task in results.tasks],
        "mean_over_tasks": [asdict(row) for row in results.suite],
        "remarks": list(remarks(results)),
    }


def to_csv(results: Results) -> str:
    """Give one line per task and strategy; scores in [0, 1], empty where there is none."""
    text = io.StringIO()
    rows = [
        {**_flat(task, row), "gain_over": results.baseline}
        for task in results.tasks
        for row in task.rows
    ]
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_markdown_page(results: Results) -> str:
    """Give all tables as Markdown."""
    suite = results.run.info.suite
    head = f"# {suite['name']} (version {suite['version']}), model {suite['model']}\n"
    body = [to_markdown(grid) for grid in grids(results, wide=True)]
    return "\n".join([head, *(f"{remark}\n" for remark in remarks(results)), *body])


def _flat(task: TaskResult, row: Row) -> dict[str, Any]:
    cost = row.optimization
    values: dict[str, Any] = {
        "task": task.task,
        "env_id": task.env_id,
        "strategy": row.strategy,
        "seeds_done": row.seeds_done,
        "seeds_planned": row.seeds_planned,
        "faults": row.faults,
    }
    values.update(_flat_comparison("score", row.score))
    values.update(_flat_comparison("gain", row.gain))
    for field in fields(Cost):
        values[f"optimization_{field.name}"] = getattr(cost, field.name) if cost else None
    values["tokens_per_episode"] = row.tokens_per_episode
    values["calls_per_episode"] = row.calls_per_episode
    return values


def _flat_comparison(
    name: str, comparison: Comparison | None
) -> Iterator[tuple[str, float | None]]:
    estimate = comparison.estimate if comparison else None
    bootstrap = comparison.bootstrap if comparison else None
    yield name, estimate.value if estimate else None
    yield f"{name}_low", estimate.low if estimate else None
    yield f"{name}_high", estimate.high if estimate else None
    yield f"{name}_bootstrap_low", bootstrap.low if bootstrap else None
    yield f"{name}_bootstrap_high", bootstrap.high if bootstrap else None
