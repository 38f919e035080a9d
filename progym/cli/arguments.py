"""Arguments that several verbs take, and how they become environments, policies and numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from progym.agents.policy import Policy, load_policy
from progym.agents.stage import Task
from progym.envs.errors import BadValue

EnvId = Annotated[
    str, typer.Argument(metavar="ENV_ID", help="An environment's id, such as HoVer4Hop-v0.")
]
Split = Annotated[str, typer.Option(help="train, val or test.")]
Data = Annotated[
    str, typer.Option(help="'embedded', 'hub', or a folder made by `progym data import`.")
]
EnvArg = Annotated[
    list[str] | None,
    typer.Option(
        "--env-arg",
        "-e",
        metavar="NAME=VALUE",
        help="A further argument of the environment, such as docs_per_hop=5; repeat for more.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        help="tiny, smollm2, gold, garbage, hub:<name>, a model folder, or http://host:port/v1#model."
    ),
]
PolicyFolder = Annotated[
    Path | None, typer.Option("--policy", help="A policy folder, in place of --model.")
]
Seed = Annotated[int, typer.Option(help="Decides everything random.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def make_task(env_id: str, data: str, env_arg: list[str] | None) -> Task:
    """Build a task from the command line; raises BadValue for a malformed --env-arg."""
    kwargs: dict[str, Any] = {} if data == "embedded" else {"data": data}
    for text in env_arg or []:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise BadValue(f"--env-arg takes NAME=VALUE, got {text!r}.")
        kwargs[name] = read_value(value)
    return Task(env_id, kwargs)


def pick_policy(model: str, folder: Path | None) -> Policy:
    """Load a policy folder, or make the plain policy of a model."""
    return Policy(model=model) if folder is None else load_policy(folder)


def read_value(text: str) -> Any:
    """Read a value from the command line as JSON, a bare word as text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
