"""`progym board`: pack a benchmark run, verify what others packed, build the pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from progym.cli.arguments import AsJson
from progym.cli.progress import progress_bar
from progym.envs.errors import MissingExtra

if TYPE_CHECKING:
    from progym.benchmarks.suite import Suite
    from progym.leaderboard.verification import Verification

app = typer.Typer(
    help="The leaderboard: pack a run, verify a bundle, build the pages.", no_args_is_help=True
)

Suites = Annotated[
    list[Path] | None,
    typer.Option("--suite", help="A suite of your own (.toml) to know as well; repeat for more."),
]
_SHOWN = 20
"""Findings that are printed; --json has all."""


@app.command("pack")
def pack_run(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished `progym bench run`.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The bundle's file; <submission id>.zip by default.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The name to be listed under; suite and date by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Pack a run into a bundle that others can verify without its model."""
    _need_extra()
    from progym.leaderboard.packing import pack

    report = pack(run, out, entrant=name)
    if as_json:
        print(json.dumps(asdict(report), indent=2, default=str))  # noqa: T201 - this is the result
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{report.path}: {report.runs} runs, {report.episodes:,} episodes, "
        f"{report.size / 1e6:.2f} MB. Check it with: progym board verify {report.path}",
        markup=False,
    )
    for note in report.notes:
        console.print(f"note: {note}", markup=False)


@app.command("verify")
def verify_bundle(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A bundle made by `progym board pack`.")
    ],
    suite: Suites = None,
    as_json: AsJson = False,
) -> None:
    """Re-execute a bundle's episodes; exit 0 accepted, 1 refused, 2 could not be checked."""
    _need_extra()
    from progym.leaderboard.verification import verify

    with _progress(quiet=as_json) as report:
        verification = verify(bundle, suites=_load_suites(suite), report=report)
    if as_json:
        print(json.dumps(_to_json(verification), indent=2))  # noqa: T201 - this is the result
    else:
        _show(verification, Console(highlight=False, soft_wrap=True))
    raise typer.Exit(verification.exit_code)


@app.command("build")
def build_pages(
    submissions: Annotated[
        Path | None, typer.Option(help="The folder with the bundles; those that ship by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write the pages to.")] = Path(
        "runs/board"
    ),
    suite: Suites = None,
    as_json: AsJson = False,
) -> None:
    """Verify all bundles of a folder and write their pages; exit 1 if any is not ranked."""
    _need_extra()
    from progym.leaderboard.page import SUBMISSIONS, build

    with _progress(quiet=as_json) as report:
        built = build(submissions or SUBMISSIONS, out, suites=_load_suites(suite), report=report)
    found = {v.name: v.outcome for v in built.board.verifications}
    if as_json:
        values = {"folder": str(built.folder), "bundles": found}
        print(json.dumps(values, indent=2))  # noqa: T201 - this is the result
    else:
        console = Console(highlight=False, soft_wrap=True)
        for verification in built.refused:
            _show(verification, console)
        accepted = len(found) - len(built.refused)
        console.print(
            f"{accepted} of {len(found)} bundles accepted. Open {built.folder / 'index.html'}",
            markup=False,
        )
    if built.refused:
        raise typer.Exit(1)


@contextmanager
def _progress(*, quiet: bool) -> Generator[Callable[[str, int, int], None]]:
    """Show a bar from the first report on: a bundle that is refused at once has none."""
    with ExitStack() as stack:
        bars: list[Callable[[str, int, int], None]] = []

        def report(what: str, done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress_bar(quiet=quiet)))
            bars[0](what, done, total)

        yield report


def _load_suites(paths: list[Path] | None) -> list[Suite]:
    from progym.benchmarks.suite import load_suite

    return [load_suite(str(path)) for path in paths or []]


def _need_extra() -> None:
    """Fail with the extra's name where what the leaderboard needs is not installed."""
    for package in ("scipy", "pydantic", "jinja2"):
        if find_spec(package) is None:
            raise MissingExtra(
                f"The leaderboard needs {package}. Install it with: pip install 'progym[bench]'"
            )


def _to_json(verification: Verification) -> dict[str, Any]:
    return {
        "bundle": verification.name,
        "sha256": verification.sha256,
        "outcome": verification.outcome,
        "stage": verification.stage,
        "reason": verification.reason,
        "episodes": verification.episodes,
        "findings": [asdict(f) | {"meaning": f.meaning} for f in verification.findings],
        "scores": [
            {
                "strategy": entry.strategy,
                "mean": _numbers(entry.mean),
                "tasks": {task.task: _numbers(task.score) for task in entry.tasks},
            }
            for entry in verification.entries
        ],
    }


def _numbers(estimate: Any) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _show(verification: Verification, console: Console) -> None:
    from progym.leaderboard.findings import printable

    name = Text(printable(verification.name))
    if verification.outcome == "accepted":
        console.print(name, f"accepted: all {verification.episodes:,} episodes re-executed.")
        console.print(_score_table(verification))
        return
    if verification.outcome == "unchecked":
        console.print(name, "could not be checked:", Text(printable(verification.reason)))
        return
    count = len(verification.findings)
    console.print(name, f"refused in stage {verification.stage}, {count} finding(s):")
    for finding in verification.findings[:_SHOWN]:
        console.print(Text(f"  {finding.code} {finding.place}: {finding.meaning}"))
        if finding.expected or finding.found:
            console.print(Text(f"      expected {finding.expected or '-'}"))
            console.print(Text(f"      found    {finding.found or '-'}"))
        console.print(Text(f"      {finding.hint}"), style="dim")
    if count > _SHOWN:
        console.print(f"  and {count - _SHOWN} more; --json prints all.")


def _score_table(verification: Verification) -> Table:
    tasks = [task.task for task in verification.entries[0].tasks]
    table = Table("strategy", "mean over tasks [95 %]", *(f"{task} [95 %]" for task in tasks))
    for entry in verification.entries:
        estimates = [entry.mean, *(task.score for task in entry.tasks)]
        table.add_row(
            Text(entry.strategy),
            *(f"{100 * e.value:.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]" for e in estimates),
        )
    return table
