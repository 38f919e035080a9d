"""`progym replay`: re-execute recorded episodes and say where any of them drifts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from progym.cli.arguments import AsJson
from progym.cli.progress import progress_bar
from progym.envs.prompts import load_prompts
from progym.envs.recording import read_episodes
from progym.envs.replay import ReplayReport, replay


def replay_file(
    episodes_file: Annotated[
        Path, typer.Argument(metavar="EPISODES_FILE", help="A file of recorded episodes (.jsonl).")
    ],
    prompts: Annotated[
        Path | None,
        typer.Option(help="The prompts.json they were made with: compares prompts whole."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Re-execute every episode from its recorded completions; exit 1 if one does not match."""
    prompt_set = load_prompts(prompts) if prompts else None
    episodes = list(read_episodes(episodes_file))
    reports: list[ReplayReport] = []
    with progress_bar(quiet=as_json) as report:
        for done, episode in enumerate(episodes, 1):
            reports.append(replay(episode, prompts=prompt_set))
            report("replaying", done, len(episodes))
    drifted = [(i, r) for i, r in enumerate(reports) if not r.matches]
    if as_json:
        found = [{"episode": i, "step": r.step, "drift": r.drift} for i, r in drifted]
        print(json.dumps({"episodes": len(episodes), "drifted": found}, indent=2))  # noqa: T201
    else:
        console = Console(highlight=False)
        console.print(
            f"{len(episodes) - len(drifted)} of {len(episodes)} episodes replay identically."
        )
        for i, r in drifted:
            where = "" if r.step is None else f" at step {r.step}"
            console.print(
                Text(f"line {i + 1}, {episodes[i].example_id}: drifted{where}: {r.drift}")
            )
    if drifted:
        raise typer.Exit(1)
