"""A run's results in the terminal; loads scipy, matplotlib and jinja2, so verbs import it late."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from progym.agents.notation import VANILLA
from progym.benchmarks.export import to_json, write_results
from progym.benchmarks.grid import to_rich
from progym.benchmarks.tables import grids, remarks


def show_results(run: Path, as_json: bool, *, baseline: str = VANILLA) -> None:
    """Write a run's results, pictures and report into its folder, and show its tables."""
    results = write_results(run, baseline=baseline)
    if as_json:
        print(json.dumps(to_json(results), indent=2))  # noqa: T201 - this is the result
        return
    console = Console()
    for grid in grids(results):
        console.print(to_rich(grid))
    for remark in remarks(results):
        console.print(remark, markup=False)
    console.print(f"Pictures, tables and report: {run / 'report.html'}", soft_wrap=True)
