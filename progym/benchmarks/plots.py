"""The two pictures of a run: learning curves, and score against cost."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from progym.benchmarks.cell_record import CellRecord
from progym.benchmarks.results import Results, TaskResult

# Okabe and Ito's colours, told apart by colour-blind eyes; markers and dashes say the same again.
_COLOURS = ("#56707f", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_INK = "#1a1b1c"
"""Text and lines; the page replaces it by its own text colour."""

_STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Picture:
    """A figure as files hold it; `inline` goes into a page and takes the page's text colour."""

    name: str
    title: str
    svg: str
    png: bytes
    inline: str


def draw_pictures(results: Results) -> tuple[Picture, ...]:
    """Draw learning curves and score against cost; the same results give the same bytes."""
    return (
        _draw(results, "curves", "Learning curves", _curves),
        _draw(results, "pareto", "Score against optimization cost", _pareto),
    )


Panel = Callable[[Axes, Results, TaskResult], None]


def _draw(results: Results, name: str, title: str, panel: Panel) -> Picture:
    style: Any = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style):
        count = len(results.tasks)
        figure = Figure(figsize=(3.6 * count + 0.4, 3.7), layout="constrained")
        axes = figure.subplots(1, count, squeeze=False)[0]
        for position, task in enumerate(results.tasks):
            axis: Axes = axes[position]
            panel(axis, results, task)
            axis.set_title(task.task)
            axis.grid(color=_INK, alpha=0.12, linewidth=0.6)
        _legend(figure, axes)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return Picture(
        name, title, svg.getvalue(), png.getvalue(), _inline(svg.getvalue(), name, title)
    )


def _curves(axis: Axes, results: Results, task: TaskResult) -> None:
    """Scores that stages report while they optimize, seeds thin, their mean thick."""
    cells = [cell for cell in results.run.cells if cell.task == task.task]
    for row in task.rows:
        look = _look(results, row.strategy)
        lines = [_curve(cell) for cell in cells if cell.strategy == row.strategy]
        lines = [line for line in lines if len(line) > 1]
        for line in lines:
            axis.plot(*np.array(line).T, color=look.colour, linewidth=0.8, alpha=0.35)
        if lines:
            xs, ys = _mean_line(lines)
            axis.plot(
                xs,
                ys,
                color=look.colour,
                marker=look.marker,
                linewidth=2.2,
                markersize=4,
                label=row.strategy,
            )
        if row.score is not None and row.optimization is not None:
            axis.plot(
                [row.optimization.rollouts],
                [100 * row.score.estimate.value],
                color=look.colour,
                marker=look.marker,
                markersize=8,
                markerfacecolor="none",
                linestyle="none",
                label=None if lines else row.strategy,
            )
    axis.set_xlabel("rollouts spent on optimization")
    axis.set_ylabel("score, %  (open marker: test)")


def _curve(cell: CellRecord) -> list[tuple[float, float]]:
    """Join a cell's stages to one line of (rollouts, percent), val points where a stage has any."""
    points: list[tuple[float, float]] = []
    before = 0
    for stage in cell.stages:
        split = "val" if any(point.split == "val" for point in stage.curve) else "train"
        points += [
            (before + point.rollouts, 100 * point.score)
            for point in stage.curve
            if point.split == split
        ]
        before += stage.cost.rollouts
    return points


def _mean_line(lines: Sequence[Sequence[tuple[float, float]]]) -> tuple[list[float], list[float]]:
    """Average lines over the rollouts that all of them cover, between their points linearly."""
    start = max(line[0][0] for line in lines)
    end = min(line[-1][0] for line in lines)
    xs = sorted({x for line in lines for x, _ in line if start <= x <= end})
    total = [0.0] * len(xs)
    for line in lines:
        known, values = zip(*line, strict=True)
        total = [
            sum_ + float(np.interp(x, known, values)) for sum_, x in zip(total, xs, strict=True)
        ]
    return xs, [value / len(lines) for value in total]


def _pareto(axis: Axes, results: Results, task: TaskResult) -> None:
    """Test score against rollouts with 95 % intervals, and the spread of rollouts over seeds."""
    cells = [cell for cell in results.run.cells if cell.task == task.task]
    front: list[tuple[float, float]] = []
    for row in task.rows:
        if row.score is None or row.optimization is None:
            continue
        look = _look(results, row.strategy)
        estimate, x = row.score.estimate, row.optimization.rollouts
        spent = [c.optimization_cost.rollouts for c in cells if c.strategy == row.strategy]
        axis.errorbar(
            [x],
            [100 * estimate.value],
            xerr=[[x - min(spent)], [max(spent) - x]],
            yerr=[
                [100 * (estimate.value - estimate.low)],
                [100 * (estimate.high - estimate.value)],
            ],
            color=look.colour,
            marker=look.marker,
            linestyle="none",
            markersize=7,
            capsize=3,
            label=row.strategy,
        )
        if row.is_on_front:
            front.append((x, 100 * estimate.value))
    if front:
        axis.step(
            *zip(*sorted(front), strict=True),
            where="post",
            color=_INK,
            alpha=0.5,
            linewidth=1,
            linestyle=(0, (4, 3)),
            zorder=0,
            label="not dominated",
        )
    axis.set_xlabel("rollouts spent on optimization")
    axis.set_ylabel("test score, % (95 % interval)")


@dataclass(frozen=True)
class _Look:
    colour: str
    marker: str


def _look(results: Results, strategy: str) -> _Look:
    position = results.run.strategies.index(strategy) % len(_COLOURS)
    return _Look(_COLOURS[position], _MARKERS[position])


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend under all panels, each entry once."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            list(entries.values()), list(entries), loc="outside lower center", ncols=len(entries)
        )


def _inline(svg: str, name: str, title: str) -> str:
    """Fit a figure into a page: no XML head, ids of its own, the page's ink, a name for readers."""
    body = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    return body.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
