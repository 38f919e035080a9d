"""`progym optimize`: run one strategy on one environment and keep the policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from progym.agents.policy import save_policy
from progym.agents.processes import join_processes
from progym.agents.strategy import StageRun, Strategy, plan_strategy, run_strategy
from progym.cli.arguments import (
    AsJson,
    Data,
    EnvArg,
    EnvId,
    Model,
    PolicyFolder,
    Seed,
    make_task,
    pick_policy,
    read_value,
)
from progym.cli.progress import progress_bar
from progym.envs.errors import BadValue


def optimize(
    env_id: EnvId,
    strategy: Annotated[
        str, typer.Argument(metavar="STRATEGY", help="Stages in order, such as 'po -> mmgrpo'.")
    ],
    out: Annotated[Path, typer.Option(help="Where stages and the final policy are kept.")],
    data: Data = "embedded",
    model: Model = "tiny",
    policy: PolicyFolder = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="STAGE.NAME=VALUE",
            help="A stage's setting, such as mmgrpo.max_steps=40 or mmgrpo.lora.r=8; repeatable.",
        ),
    ] = None,
    seed: Seed = 0,
    env_arg: EnvArg = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what it would cost.")] = False,
    as_json: AsJson = False,
) -> None:
    """Optimize a policy; run again with the same arguments, finished stages are kept."""
    plan = plan_strategy(strategy, _by_stage(settings or []))
    task, start = make_task(env_id, data, env_arg), pick_policy(model, policy)
    if dry_run:
        _show_plan(plan, as_json)
        return
    leads = join_processes().leads
    with progress_bar(quiet=as_json or not leads) as report:
        runs = run_strategy(plan, start, task, seed=seed, folder=out / "stages", report=report)
    if not leads:
        return
    final = save_policy(runs[-1].result.policy if runs else start, out / "policy")
    if as_json:
        print(json.dumps([_row(run) for run in runs], indent=2))  # noqa: T201 - this is the result
        return
    console = Console()
    _show_runs(runs, console)
    where = f"--policy {out / 'policy'}"
    console.print(f"policy ({final.model}) kept; try: progym eval {env_id} {where}", soft_wrap=True)


def _by_stage(settings: list[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        *tables, name = names = key.split(".")
        if not (equals and tables and all(names)):
            raise BadValue(f"--set takes STAGE.NAME=VALUE or STAGE.TABLE.NAME=VALUE, got {text!r}.")
        place: dict[str, Any] = found
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):  # pyright: ignore[reportUnnecessaryIsInstance] - as typed
                raise BadValue(f"--set {text!r}: {table} was set to {place!r}, so it has no names.")
        place[name] = read_value(value)
    return found


def _show_plan(plan: Strategy, as_json: bool) -> None:
    rows = [{"stage": stage.name, "rollouts": stage.rollouts} for stage in plan.stages]
    if as_json:
        print(json.dumps(rows, indent=2))  # noqa: T201 - this is the result
        return
    table = Table("stage", "rollouts")
    for row in rows:
        table.add_row(str(row["stage"]), f"{row['rollouts']:,}")
    Console().print(table)


def _row(run: StageRun) -> dict[str, Any]:
    last = run.result.curve[-1] if run.result.curve else None
    return {
        "stage": run.name,
        "folder": str(run.folder),
        "rollouts": run.result.cost.rollouts,
        "prompt_tokens": run.result.cost.prompt_tokens,
        "completion_tokens": run.result.cost.completion_tokens,
        "seconds": round(run.result.cost.seconds, 2),
        "last_score": last.score if last else None,
        "last_split": last.split if last else None,
    }


def _show_runs(runs: list[StageRun], console: Console) -> None:
    table = Table("stage", "rollouts", "tokens in", "tokens out", "seconds", "last score")
    for run in runs:
        row = _row(run)
        score = (
            "" if row["last_score"] is None else f"{row['last_score']:.3f} ({row['last_split']})"
        )
        table.add_row(
            run.name,
            f"{row['rollouts']:,}",
            f"{row['prompt_tokens']:,}",
            f"{row['completion_tokens']:,}",
            f"{row['seconds']:.1f}",
            score,
        )
    console.print(table)
