"""The page of one mmGRPO run: its curves by module, its warnings, and a browser of its episodes."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from progym.agents.grpo import METRICS, RUNS
from progym.agents.storage import read_json
from progym.benchmarks.pages import templates_of
from progym.benchmarks.plots import STYLE, fit_into_page, look_of
from progym.envs.errors import BadData, DataUnavailable

Line = Mapping[str, Any]

_CHARTS = (
    ("reward", "Reward", "Mean reward of a step's runs, failure rewards included."),
    (
        "frac_reward_zero_std",
        "Groups without variance",
        "The share of groups whose rewards are all equal: they teach nothing.",
    ),
    ("entropy", "Entropy", "Of the tokens trained on, in nats: how unsure the policy is."),
    ("kl", "KL", "Of the tokens trained on: how far the policy is from where it started."),
    ("grad_norm", "Gradient norm", "Of a module's part of the loss, before clipping."),
    ("clip_ratio/region_mean", "Clip share", "Of the tokens whose ratio was clipped."),
    ("parse_failure_rate", "Unreadable", "The share of calls whose completion was not readable."),
    ("completions/mean_length", "Completion length", "Mean tokens of a completion."),
)
"""Metric, title, and what it says."""
_COLUMNS = (
    ("reward", "reward"),
    ("reward_std", "spread"),
    ("groups/mean_size", "group size"),
    ("frac_reward_zero_std", "level groups"),
    ("advantages/mean_abs", "|advantage|"),
    ("parse_failure_rate", "unreadable"),
    ("entropy", "entropy"),
    ("kl", "KL"),
    ("grad_norm", "gradient"),
    ("completions/mean_length", "tokens"),
)
_LAST = 5
"""Steps that the table averages."""


@dataclass(frozen=True)
class _Chart:
    title: str
    caption: str
    svg: Markup


def write_learning_report(folder: Path, out: Path) -> None:
    """Write the page of the run in a folder.

    Raises:
        DataUnavailable: There is no run in the folder, or there are several below it.
        BadData: A line that is not JSON.
    """
    folder = _find_run(folder)
    lines = _read_lines(folder / METRICS)
    updates = [line for line in lines if "loss" in line]
    if not updates:
        raise DataUnavailable(f"{folder}: the run has not made its first update yet.")
    scores = [line for line in lines if line.get("split") == "val"]
    runs = _read_lines(folder / RUNS) if (folder / RUNS).is_file() else []
    environment = templates_of("progym.benchmarks")
    page = environment.get_template("learning.html.j2").render(
        name=_name(folder),
        updates=len(updates),
        steps=updates[-1]["step"] + 1,
        rollouts=sum(line["rollouts"] for line in updates),
        warnings=[(line["step"], text) for line in updates for text in line["warnings"]],
        error=next((line["error"] for line in lines if "error" in line), None),
        best=scores[-1]["best"] if scores else None,
        charts=_charts(updates, scores),
        columns=[title for _, title in _COLUMNS],
        rows=_table(updates),
        steps_with_runs=_by_step(runs),
        last=_LAST,
    )
    out.write_text(page, "utf-8")


def _name(folder: Path) -> str:
    path = folder / "identity.json"
    if not path.is_file():
        return folder.name
    values = read_json(path)
    return f"{values['stage']} on {values['env_id']}, seed {values['seed']}"


def _find_run(folder: Path) -> Path:
    if (folder / METRICS).is_file():
        return folder
    below = sorted(path.parent for path in folder.rglob(METRICS)) if folder.is_dir() else []
    if len(below) == 1:
        return below[0]
    if not below:
        raise DataUnavailable(f"{folder} holds no run of mmgrpo: there is no {METRICS} in it.")
    names = ", ".join(str(path) for path in below[:5])
    raise DataUnavailable(f"{folder} holds {len(below)} runs of mmgrpo. Name one: {names} ...")


def _read_lines(path: Path) -> list[Line]:
    found: list[Line] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            found.append(json.loads(line))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise BadData(f"{path}:{number}: not JSON ({error}).") from error
    return found


def _charts(updates: Sequence[Line], scores: Sequence[Line]) -> list[_Chart]:
    charts = [_score_chart(updates, scores)]
    modules = list(dict.fromkeys(name for line in updates for name in line["modules"]))
    for metric, title, caption in _CHARTS:
        series = {
            module: [
                (line["step"], line["modules"][module][metric])
                for line in updates
                if line["modules"].get(module, {}).get(metric) is not None
            ]
            for module in modules
        }
        if any(series.values()):
            charts.append(_Chart(title, caption, _draw(metric, title, series)))
    return charts


def _score_chart(updates: Sequence[Line], scores: Sequence[Line]) -> _Chart:
    series = {"train": [(line["step"], line["score"]) for line in updates]}
    if scores:
        series["val"] = [(line["step"], line["score"]) for line in scores]
    caption = "Mean score of a step's runs, and of the evaluations on val where there are any."
    return _Chart("Score", caption, _draw("score", "Score", series))


def _draw(name: str, title: str, series: Mapping[str, Sequence[tuple[int, float]]]) -> Markup:
    style: Any = {**STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.6, 2.7), layout="constrained")
        axis = figure.subplots()
        for position, (label, points) in enumerate(series.items()):
            look = look_of(position)
            axis.plot(
                [x for x, _ in points],
                [y for _, y in points],
                color=look.colour,
                marker=look.marker,
                markevery=max(1, len(points) // 8),
                markersize=4,
                linewidth=1.6,
                label=label,
            )
        axis.set_xlabel("step")
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axis.grid(alpha=0.12, linewidth=0.6)
        axis.legend(loc="best", fontsize=8)
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
    # The SVG is drawn by us, and matplotlib escapes the names in it.
    return Markup(fit_into_page(svg.getvalue(), name.replace("/", "-"), title))


def _table(updates: Sequence[Line]) -> list[tuple[str, bool, list[str]]]:
    """Average the last steps by module and step type: name, whether it is a module, values."""
    last = updates[-_LAST:]
    rows: list[tuple[str, bool, list[str]]] = []
    for module in last[-1]["modules"]:
        rows.append((module, True, _means([line["modules"].get(module, {}) for line in last])))
        types = [name for name in last[-1]["step_types"] if name.rpartition(":")[0] == module]
        for name in sorted(types, key=lambda name: int(name.rpartition(":")[2])):
            values = _means([line["step_types"].get(name, {}) for line in last])
            rows.append((name, False, values))
    return rows


def _means(lines: Sequence[Line]) -> list[str]:
    found: list[str] = []
    for metric, _ in _COLUMNS:
        values = [line[metric] for line in lines if line.get(metric) is not None]
        mean = fmean(values) if values else math.nan
        found.append(f"{mean:.3g}" if values else "-")
    return found


def _by_step(runs: Sequence[Line]) -> list[tuple[int, list[Line]]]:
    steps = dict.fromkeys(run["step"] for run in runs)
    return [(step, [run for run in runs if run["step"] == step]) for step in steps]
