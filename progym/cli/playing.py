"""`progym play`: be the model yourself, call by call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from progym.cli.arguments import Data, EnvArg, EnvId, Seed, Split, make_task
from progym.envs.env import ProgramEnv
from progym.envs.parsing import parse
from progym.envs.records import Completion, Episode
from progym.envs.rendering import Call, render_reply


def play(
    env_id: EnvId,
    split: Split = "train",
    data: Data = "embedded",
    example: Annotated[str | None, typer.Option(help="Example id; else drawn by --seed.")] = None,
    seed: Seed = 0,
    env_arg: EnvArg = None,
) -> None:
    """Answer each call of one episode in the terminal; see the parsed fields and the reward."""
    console = Console(highlight=False)
    env = make_task(env_id, data, env_arg).make(split)
    inner = env.unwrapped
    assert isinstance(inner, ProgramEnv)
    _, info = env.reset(seed=seed, options={"example_id": example} if example else None)
    console.print(
        f"Example {info['example_id']}. Write a reply; an empty line hands it in, "
        "? alone shows a right one, Ctrl-C stops."
    )
    while "call" in info:
        call: Call = info["call"]
        console.print(Panel(Text(call.text), title=f"call {call.step_type}"))
        reply = _read_reply(console, inner)
        _show_fields(call, reply, console)
        _, _, _, _, info = env.step(reply)
    _show_end(info["record"], inner, console)


def _read_reply(console: Console, env: ProgramEnv) -> str:
    lines: list[str] = []
    while True:
        try:
            line = console.input("> ", markup=False)
        except EOFError:
            break
        if line == "?" and not lines:
            _show_gold(env, console)
        elif line:
            lines.append(line)
        else:
            break
    return "\n".join(lines)


def _show_gold(env: ProgramEnv, console: Console) -> None:
    reply = render_reply(env.pending_call.module, env.gold_fields())
    console.print(Text(reply, style="green"))


def _show_fields(call: Call, reply: str, console: Console) -> None:
    parsed = parse(call.module, Completion(reply))
    console.print(Text(f"read as {_compact(parsed.fields)}", style="dim"))
    if parsed.error:
        console.print(Text(f"can't be read: {parsed.error}", style="red"))


def _show_end(episode: Episode, env: ProgramEnv, console: Console) -> None:
    score = "none (a fault of the system)" if episode.score is None else f"{episode.score:.3f}"
    metrics = ", ".join(f"{name} {value:.3g}" for name, value in episode.metrics.items())
    console.print(
        f"The episode ended: {episode.status}. Reward {episode.reward:.3f}, score {score}."
    )
    if metrics:
        console.print(f"Metrics: {metrics}")
    if episode.fault:
        console.print(Text(f"Fault: {episode.fault}", style="red"))
    gold = env.examples.by_id(episode.example_id).gold
    console.print(Text(f"Gold: {_compact(gold)}", style="green"))


def _compact(values: Mapping[str, object]) -> str:
    return json.dumps(dict(values), ensure_ascii=False, default=str)
