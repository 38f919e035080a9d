"""The entry point of `progym`: assembles the verbs and turns expected errors into one line.

Exit codes: 0 done, 1 done but something failed or was refused, 2 a mistake in the command or its
input, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import gymnasium.error
import typer
from rich.console import Console

from progym.cli import (
    bench,
    board,
    data,
    environments,
    evaluation,
    optimization,
    playing,
    replaying,
    reporting,
)
from progym.envs.errors import ProgymError

app = typer.Typer(
    name="progym",
    help="Language-model programs as environments: optimize prompts, weights, or both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("envs")(environments.list_environments)
app.command("play")(playing.play)
app.command("eval")(evaluation.evaluate)
app.command("optimize")(optimization.optimize)
app.add_typer(bench.app, name="bench")
app.command("report")(reporting.report_run)
app.command("replay")(replaying.replay_file)
app.add_typer(board.app, name="board")
app.add_typer(data.app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("progym"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR,
        format="%(levelname)s %(name)s: %(message)s",
    )


def main() -> None:
    """Run the command line; expected errors end as one line on stderr, without a traceback."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app(prog_name="progym")
    except (ProgymError, gymnasium.error.Error) as error:
        errors.print(f"progym: {error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print("progym: stopped by Ctrl-C.")
        sys.exit(130)
