"""`progym data`: real task data, imported from public releases into our folder format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from progym.cli.arguments import AsJson, Seed, Split
from progym.envs.sources import load
from progym.envs.sources.importing import import_release, read_uids

app = typer.Typer(help="Import and check real task data.", no_args_is_help=True)

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="banking77, hover or papillon.")]


@app.command("import")
def import_folder(
    task: TaskName,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="The folder with the release's files.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The data folder to make.")],
    corpus: Annotated[
        Path | None, typer.Option(help="HoVer: passages, one {title, text} a line; .gz allowed.")
    ] = None,
    only_uids: Annotated[
        Path | None, typer.Option(help="HoVer: a JSON array of the claims to choose from.")
    ] = None,
    hops: Annotated[
        list[int] | None, typer.Option(help="HoVer: numbers of hops to choose from; repeat. [4]")
    ] = None,
    sizes: Annotated[
        Literal["paper", "all"], typer.Option(help="The paper's split sizes, or every row.")
    ] = "paper",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Turn a public release into a folder for --data; it appears whole or not at all."""
    report = import_release(
        task,
        source,
        out,
        seed=seed,
        sizes=sizes,
        corpus=corpus,
        only_uids=read_uids(only_uids) if only_uids else None,
        hops=frozenset(hops or {4}),
    )
    found = {
        "folder": str(report.folder),
        "examples": dict(report.sizes),
        "passages": report.passages,
        "notes": list(report.notes),
    }
    if as_json:
        print(json.dumps(found, indent=2))  # noqa: T201 - this is the result
        return
    console = Console(highlight=False, soft_wrap=True)
    sizes_shown = ", ".join(f"{name} {size}" for name, size in report.sizes.items())
    console.print(f"{report.folder}: {sizes_shown}; {report.passages:,} passages.")
    for note in report.notes:
        console.print(f"note: {note}")


@app.command("check")
def check_folder(
    task: TaskName,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A data folder.")],
    split: Split = "test",
) -> None:
    """Read one split of a data folder whole, naming the first malformed line."""
    found = load(task=task, data=str(folder), split=split)
    passages = len(found.corpus.passages) if found.corpus else 0
    Console(highlight=False).print(
        f"{folder}: {len(found.examples)} {split} examples, {passages:,} passages, "
        f"fingerprint {found.fingerprint}."
    )
