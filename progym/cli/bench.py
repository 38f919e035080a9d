"""`progym bench`: compare strategies on a suite, look at what a run showed."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from progym.agents.notation import VANILLA
from progym.benchmarks.cells import cells_of
from progym.benchmarks.estimate import PlannedRow, dry_run
from progym.benchmarks.progress import LiveProgress, Silent
from progym.benchmarks.runner import RunOutcome, run_suite
from progym.benchmarks.suite import Suite, load_suite, suite_names
from progym.cli.arguments import AsJson
from progym.envs.errors import MissingExtra

app = typer.Typer(help="Compare strategies on a suite of tasks.", no_args_is_help=True)

SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="A suite that ships, or the path of a .toml file.")
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]


@app.command("list")
def list_suites(as_json: AsJson = False) -> None:
    """List the suites that ship."""
    suites = [load_suite(name) for name in suite_names()]
    if as_json:
        rows = [{"name": s.name, "version": s.version, "cells": len(cells_of(s))} for s in suites]
        print(json.dumps(rows, indent=2))  # noqa: T201 - this is the result
        return
    table = Table("suite", "tasks", "strategies", "seeds", "what it is")
    for suite in suites:
        tasks = "\n".join(task.name for task in suite.tasks)
        table.add_row(
            suite.name, tasks, "\n".join(suite.strategies), str(len(suite.seeds)), suite.description
        )
    Console().print(table)


@app.command("run")
def run(
    suite: SuiteName,
    out: Annotated[Path, typer.Option(help="The run's folder: new, or with --resume begun.")],
    resume: Annotated[bool, typer.Option(help="Go on with a run that was stopped.")] = False,
    workers: Annotated[int, typer.Option(help="Processes, one cell at a time each.", min=1)] = 2,
    only_estimate: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would cost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a suite: tables, pictures and report.html in one folder. Ctrl-C keeps what is done."""
    plan = load_suite(suite)
    if only_estimate:
        _show_plan(plan, as_json)
        return
    console = Console(stderr=True)
    if as_json:
        outcome = run_suite(plan, out, resume=resume, workers=workers, watcher=Silent())
    else:
        with LiveProgress(console) as watcher:
            outcome = run_suite(plan, out, resume=resume, workers=workers, watcher=watcher)
    _finish(outcome, as_json, console)


@app.command("show")
def show(
    run: RunFolder,
    baseline: Annotated[
        str, typer.Option(metavar="STRATEGY", help="The strategy that gains are over.")
    ] = VANILLA,
    as_json: AsJson = False,
) -> None:
    """Show a run's tables again, and write its results and report.html again."""
    _show_results(run, as_json, baseline)


def _finish(outcome: RunOutcome, as_json: bool, console: Console) -> None:
    if outcome.done:
        _show_results(outcome.run, as_json)
    console.print(outcome.message, markup=False, soft_wrap=True)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _show_results(run: Path, as_json: bool, baseline: str = VANILLA) -> None:
    try:
        from progym.cli.run_results import show_results
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"Tables and pictures need {error.name!r}: pip install 'progym[bench]'."
        ) from error
    show_results(run, as_json, baseline=baseline)


def _show_plan(plan: Suite, as_json: bool) -> None:
    estimate = dry_run(plan)
    if as_json:
        print(json.dumps(asdict(estimate), indent=2))  # noqa: T201 - this is the result
        return
    names = [column.name for column in fields(PlannedRow)]
    table = Table(*(name.replace("_", " ") for name in names))
    for row in estimate.rows:
        values = (getattr(row, name) for name in names)
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in values))
    console = Console(highlight=False)
    console.print(table)
    totals = f"{estimate.rollouts:,} rollouts, roughly {estimate.tokens:,} tokens"
    console.print(
        f"{estimate.cells} cells, {estimate.stage_runs} stage runs, {totals}. Rows are for each "
        "seed and count shared stages again; the totals count them once."
    )
