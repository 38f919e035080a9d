"""`progym eval`: run a policy on a split, keep the episodes, say what they scored."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from progym.agents.model import Sampling
from progym.agents.models import load_model
from progym.agents.policy import Policy
from progym.agents.rollouts import requests_for, roll_out
from progym.agents.stage import Report, Task
from progym.cli.arguments import (
    AsJson,
    Data,
    EnvArg,
    EnvId,
    Model,
    PolicyFolder,
    Seed,
    Split,
    make_task,
    pick_policy,
)
from progym.cli.progress import progress_bar
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue, MissingExtra
from progym.envs.recording import EpisodeWriter
from progym.envs.records import Episode

if TYPE_CHECKING:
    from progym.benchmarks.intervals import Estimate, Scores

_BATCH = 256
"""Episodes that run together and are written down together."""


def evaluate(
    env_id: EnvId,
    split: Split = "test",
    data: Data = "embedded",
    model: Model = "tiny",
    policy: PolicyFolder = None,
    episodes: Annotated[
        int, typer.Option(help="How many examples, from the first on.", min=1)
    ] = 50,
    repeats: Annotated[int, typer.Option(help="Rollouts of each example.", min=1)] = 1,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 1.0,
    max_completion_length: Annotated[int, typer.Option(help="Tokens of a completion.")] = 64,
    out: Annotated[
        Path | None, typer.Option(help="Where episodes are recorded; runs/eval/... by default.")
    ] = None,
    seed: Seed = 0,
    env_arg: EnvArg = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a policy: scores with an interval, how episodes ended, tokens by module."""
    mean_score = _import_mean_score()  # at the start: no rollout should be drawn in vain
    task = make_task(env_id, data, env_arg)
    acting = pick_policy(model, policy)
    sampling = Sampling(temperature, max_completion_length)
    now = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S-%f")
    path = out or Path("runs/eval") / f"{env_id}-{split}-{now}.jsonl"
    if path.is_file() and path.stat().st_size:
        raise BadValue(f"{path} holds something already. Give --out a file that is new or empty.")
    started = time.perf_counter()
    with progress_bar(quiet=as_json) as report:
        plan = _Plan(task, split, acting, sampling, seed)
        done = plan.run(episodes, repeats, path, report)
    summary = summarize(done, mean_score) | {
        "environment": env_id,
        "split": split,
        "fingerprint": done[0].fingerprint,
        "model": acting.model,
        "seconds": round(time.perf_counter() - started, 2),
        "episodes_file": str(path),
    }
    if as_json:
        print(json.dumps(summary, indent=2))  # noqa: T201 - this is the result
    else:
        _show(summary, Console())
    if any(episode.score is None for episode in done):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Plan:
    """What is evaluated: a policy on a split."""

    task: Task
    split: str
    policy: Policy
    sampling: Sampling
    seed: int

    def run(self, examples: int, repeats: int, path: Path, report: Report) -> list[Episode]:
        """Roll out the first examples, writing each batch down before the next begins.

        The file is made when all else is there, so that a mistake leaves none behind.
        """
        env = self.task.make(self.split)
        inner = env.unwrapped
        assert isinstance(inner, ProgramEnv)
        ids = inner.examples.ids[:examples]
        requests = requests_for(ids, repeats=repeats, seed=self.seed)
        report("loading the model", 0, len(requests))
        model = load_model(self.policy)
        done: list[Episode] = []
        with EpisodeWriter(path) as writer:
            for begin in range(0, len(requests), _BATCH):
                before = len(done)

                def tell(some: int, _all: int, before: int = before) -> None:
                    report("episodes", before + some, len(requests))

                batch = roll_out(
                    lambda: self.task.make(self.split),
                    model,
                    self.policy.prompts,
                    requests[begin : begin + _BATCH],
                    sampling=self.sampling,
                    progress=tell,
                )
                for episode in batch:
                    writer.write(episode)
                done += batch
        return done


def _import_mean_score() -> Callable[[Scores], Estimate]:
    try:
        from progym.benchmarks.intervals import mean_score
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"Scores with intervals need {error.name!r}: pip install 'progym[bench]'."
        ) from error
    return mean_score


def summarize(episodes: list[Episode], mean_score: Callable[[Scores], Estimate]) -> dict[str, Any]:
    """Sum up scores, metrics, statuses and tokens by module; faults score nothing."""
    scores = [episode.score for episode in episodes if episode.score is not None]
    tokens: dict[str, Counter[str]] = {}
    for episode in episodes:
        for call in episode.calls:
            counter = tokens.setdefault(call.module, Counter())
            counter.update(
                calls=1,
                prompt_tokens=call.prompt_tokens,
                completion_tokens=call.completion_tokens,
                unreadable=call.error is not None,
                cut=call.finish == "length",
            )
    names = sorted({name for episode in episodes for name in episode.metrics})
    return {
        "episodes": len(episodes),
        "score": float(np.mean(scores)) if scores else None,
        "interval": _interval(episodes, mean_score),
        "status": dict(Counter(episode.status for episode in episodes)),
        "metrics": {
            name: float(np.mean([e.metrics[name] for e in episodes if name in e.metrics]))
            for name in names
        },
        "modules": {name: dict(counter) for name, counter in tokens.items()},
    }


def _interval(
    episodes: list[Episode], mean_score: Callable[[Scores], Estimate]
) -> tuple[float, float] | None:
    """95 % interval of the mean over examples, repeats averaged first; None without a score."""
    by_example: dict[str, list[float]] = {}
    for episode in episodes:
        if episode.score is not None:
            by_example.setdefault(episode.example_id, []).append(episode.score)
    if not by_example:
        return None
    estimate = mean_score(np.array([[float(np.mean(scores)) for scores in by_example.values()]]))
    return estimate.low, estimate.high


def _show(summary: dict[str, Any], console: Console) -> None:
    score, interval = summary["score"], summary["interval"]
    shown = "none" if score is None else f"{score:.3f}"
    if interval:
        shown += f"  (95 % interval over examples {interval[0]:.3f} to {interval[1]:.3f})"
    console.print(
        f"{summary['environment']}, {summary['split']} split, model {summary['model']}: "
        f"{summary['episodes']} episodes in {summary['seconds']} s"
    )
    console.print(f"score   {shown}")
    for name, value in summary["metrics"].items():
        console.print(f"{name}   {value:.3f} (over the episodes that were scored)")
    console.print(
        "ended   " + ", ".join(f"{n} {status}" for status, n in summary["status"].items())
    )
    table = Table(
        "module", "calls", "prompt tokens", "completion tokens", "unreadable", "cut short"
    )
    for name, usage in summary["modules"].items():
        table.add_row(name, *(f"{value:,}" for value in usage.values()))
    console.print(table)
    console.print(f"recorded in {summary['episodes_file']} (progym replay checks it)")
