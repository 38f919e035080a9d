"""Draw how the ratio to TRL grows with runs, prompt length and demos: `make growth`.

Every point is a turn of the tiny LM, in CPU seconds of one thread, where prompts are short or runs
many the middle one of three; equality is held as in the bench. Writes an SVG; takes half an hour.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["HF_HUB_DISABLE_TELEMETRY"] = os.environ["HF_HUB_OFFLINE"] = "1"  # read by trl

import matplotlib as mpl
import torch
from grpo_sides import Ours, Theirs
from grpo_turns import Turn, take_turns
from grpo_workload import COMPOSED, PLAIN, RULES, Scenario, make_prompts
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from progym.benchmarks.plots import STYLE, look_of

PARTS = ("whole", "rollout", "update")
SHORT, MANY, TURNS = 500, 16, 3
"""Tokens of a prompt below which turns are taken more than once, and runs from which they are."""
Points = list[tuple[float, Turn, Turn]]


def measure(scenarios: Sequence[Scenario], folder: Path) -> Points:
    """Take a turn of each scenario; gives the mean prompt's tokens with it."""
    ours, theirs = Ours("tiny", folder), Theirs("tiny", folder)
    points: Points = []
    for scenario in scenarios:
        prompts = make_prompts(scenario)
        lengths = [len(ours.lm.encode(call)) for calls in prompts.values() for call in calls]
        mean = sum(lengths) / len(lengths)
        rounds = TURNS if mean < SHORT or scenario.runs >= MANY else 1
        turns = [take_turns(ours, theirs, prompts, []) for _ in range(rounds)]
        turn = sorted(turns, key=ratio_of)[rounds // 2]
        points.append((mean, *turn))
        ratios = ", ".join(f"{ratio_of(one):.1f}" for one in turns)
        print(f"{scenario}: {mean:.0f} tokens, ratios {ratios}", flush=True)  # noqa: T201
    return points


def ratio_of(turn: tuple[Turn, Turn]) -> float:
    """Give how many times as long TRL's step took."""
    return turn[1].whole.seconds / turn[0].whole.seconds


def draw(axis: Axes, xs: Sequence[float], points: Points, label: str) -> None:
    """Draw the ratio of a step and of its halves."""
    for number, part in enumerate(PARTS):
        look = look_of(number + 1)
        ratios = [getattr(two, part).seconds / getattr(one, part).seconds for _, one, two in points]
        name = "whole step" if part == "whole" else part
        axis.plot(xs, ratios, color=look.colour, marker=look.marker, label=name)
    axis.axhline(1, color="#1a1b1c", alpha=0.4, linewidth=0.8)
    axis.set_xlabel(label)
    axis.grid(alpha=0.15)


def main(path: Path) -> None:
    torch.set_num_threads(1)
    runs = [4, 8, 12, 16, 24]
    demos = range(COMPOSED.demos + 1)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        by_runs = measure([replace(COMPOSED, runs=count) for count in runs], place)
        by_rules = measure(
            [replace(PLAIN, rules=share * len(RULES) // 2) for share in range(0, 9, 2)], place
        )
        by_demos = measure([replace(PLAIN, demos=count) for count in demos], place)
    style: Any = {**STYLE, "svg.hashsalt": "growth"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(10.5, 3.4), layout="constrained")
        axes = figure.subplots(1, 3, sharey=True)
        draw(axes[0], runs, by_runs, "runs of each example (instruction, four demos)")
        draw(
            axes[1],
            [tokens for tokens, *_ in by_rules],
            by_rules,
            "tokens of a prompt (longer instruction)",
        )
        draw(axes[2], list(demos), by_demos, "demos")
        axes[0].set_ylabel("TRL's CPU seconds / ours")
        axes[0].set_ylim(bottom=0)  # of all, once all is drawn
        axes[2].legend(loc="upper left")
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
