"""`progym report`: the page of one mmGRPO run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def report_run(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The folder of a run of mmgrpo, or one that holds it."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The page to write; RUN/learning.html by default.")
    ] = None,
) -> None:
    """Write one page that shows what a run of mmgrpo learned: curves, warnings, episodes."""
    from progym.benchmarks.learning_report import write_learning_report

    page = out or run / "learning.html"
    write_learning_report(run, page)
    Console(highlight=False).print(f"{page}", soft_wrap=True)
