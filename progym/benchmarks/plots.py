"""The two pictures of a run: learning curves, and score against cost."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from progym.benchmarks.cell_record import CellRecord
from progym.benchmarks.results import Results, Row, TaskResult

# Okabe and Ito's colours, told apart by colour-blind eyes; markers say the same again.
_COLOURS = ("#56707f", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_INK = "#1a1b1c"
"""Text and lines; the page replaces it by its own text colour."""
_FRONT = "not dominated (outlined)"

STYLE: dict[str, Any] = {
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


@dataclass(frozen=True)
class _Kind:
    """What is drawn in each panel, and how the picture is called."""

    name: str
    title: str
    label: str
    panel: Callable[[Axes, Results, TaskResult], None]


@dataclass(frozen=True)
class Look:
    """What tells a line from the others."""

    colour: str
    marker: str


def draw_pictures(results: Results) -> tuple[Picture, ...]:
    """Draw learning curves and score against cost; the same results give the same bytes."""
    curves = _Kind("curves", "Learning curves", "score, %  (open marker: test)", _curves)
    pareto = _Kind(
        "pareto", "Score against optimization cost", "test score, %  (95 % interval)", _pareto
    )
    return _draw(results, curves), _draw(results, pareto)


def _draw(results: Results, kind: _Kind) -> Picture:
    style: Any = {**STYLE, "svg.hashsalt": kind.name}
    with mpl.rc_context(style):
        count = len(results.tasks)
        figure = Figure(figsize=(3.6 * count + 0.4, 3.7), layout="constrained")
        axes = figure.subplots(1, count, squeeze=False)[0]
        for position, task in enumerate(results.tasks):
            axis: Axes = axes[position]
            kind.panel(axis, results, task)
            axis.set_title(task.task)
            axis.set_xlabel("rollouts spent on optimization")
            axis.set_ylabel(kind.label if position == 0 else "")
            axis.grid(color=_INK, alpha=0.12, linewidth=0.6)
        _legend(figure, axes)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    text = svg.getvalue()
    return Picture(
        kind.name, kind.title, text, png.getvalue(), fit_into_page(text, kind.name, kind.title)
    )


def _curves(axis: Axes, results: Results, task: TaskResult) -> None:
    """Draw what stages report while they optimize, and the test score at the end."""
    for row in task.rows:
        look = _look(results, row.strategy)
        has_lines = _draw_stages(axis, _cells(results, task, row), look)
        if row.score is not None and row.optimization is not None:
            axis.plot(
                [row.optimization.rollouts],
                [100 * row.score.estimate.value],
                color=look.colour,
                marker=look.marker,
                markersize=8,
                markerfacecolor="none",
                linestyle="none",
                zorder=20,
                label=None if has_lines else row.strategy,
            )


def _draw_stages(axis: Axes, cells: Sequence[CellRecord], look: Look) -> bool:
    """Draw a line a stage: seeds thin, their mean thick; tells whether there is any."""
    stages = len(cells[0].stages) if cells else 0
    zorder = 10 - stages  # what strategies share is seen in the colour of the shortest
    for position in range(stages):
        lines = [_stage_curve(cell, position) for cell in cells]
        for line in lines:
            xs, ys = [x for x, _ in line.values()], [y for _, y in line.values()]
            axis.plot(xs, ys, color=look.colour, linewidth=0.8, alpha=0.45, zorder=zorder)
        mean = _mean_line(lines)
        axis.plot(
            [x for x, _ in mean],
            [y for _, y in mean],
            color=look.colour,
            marker=look.marker,
            markevery=max(1, len(mean) // 8),
            linewidth=2.2,
            markersize=4,
            zorder=zorder,
            label=cells[0].strategy if position == 0 else None,
        )
    return stages > 0


def _stage_curve(cell: CellRecord, position: int) -> dict[int, tuple[float, float]]:
    """Give a stage's (rollouts, percent) by step; val points where it has any, else train."""
    before = sum(stage.cost.rollouts for stage in cell.stages[:position])
    curve = cell.stages[position].curve
    split = "val" if any(point.split == "val" for point in curve) else "train"
    return {
        point.step: (before + point.rollouts, 100 * point.score)
        for point in curve
        if point.split == split
    }


def _mean_line(lines: Sequence[dict[int, tuple[float, float]]]) -> list[tuple[float, float]]:
    """Average over the steps that all seeds have."""
    mean: list[tuple[float, float]] = []
    for step in lines[0]:
        points = [line[step] for line in lines if step in line]
        if len(points) == len(lines):
            x = sum(x for x, _ in points) / len(points)
            mean.append((x, sum(y for _, y in points) / len(points)))
    return mean


def _pareto(axis: Axes, results: Results, task: TaskResult) -> None:
    """Draw test score against rollouts, with the score's interval and the seeds' rollouts."""
    front: list[tuple[float, float]] = []
    for row in task.rows:
        if row.score is None or row.optimization is None:
            continue
        look, estimate = _look(results, row.strategy), row.score.estimate
        x, y = row.optimization.rollouts, 100 * estimate.value
        spent = [cell.optimization_cost.rollouts for cell in _cells(results, task, row)]
        axis.errorbar(
            [x],
            [y],
            xerr=[[x - min(spent)], [max(spent) - x]],
            yerr=[[y - 100 * estimate.low], [100 * estimate.high - y]],
            color=look.colour,
            marker=look.marker,
            linestyle="none",
            markersize=7,
            markeredgecolor=_INK if row.is_on_front else look.colour,
            markeredgewidth=1.4,
            capsize=3,
            label=row.strategy,
        )
        if row.is_on_front:
            front.append((x, y))
    if front:
        axis.step(
            *zip(*sorted(front), strict=True),
            where="post",
            color=_INK,
            alpha=0.5,
            linewidth=1,
            linestyle=(0, (4, 3)),
            zorder=0,
            label=_FRONT,
        )


def _cells(results: Results, task: TaskResult, row: Row) -> list[CellRecord]:
    key = (task.task, row.strategy)
    return [cell for cell in results.run.cells if (cell.task, cell.strategy) == key]


def look_of(position: int) -> Look:
    """Give the colour and the marker of a line, by its position among all."""
    return Look(_COLOURS[position % len(_COLOURS)], _MARKERS[position % len(_MARKERS)])


def _look(results: Results, strategy: str) -> Look:
    return look_of(results.run.strategies.index(strategy))


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend under all panels: each entry once, the front last."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            is_bars = isinstance(handle, ErrorbarContainer)
            entries.setdefault(label, handle.lines[0] if is_bars else handle)
    names = sorted(entries, key=lambda name: name == _FRONT)
    if names:
        handles = [entries[name] for name in names]
        columns = min(len(names), 2 * len(axes))  # as many as fit below the panels
        figure.legend(handles, names, loc="outside lower left", ncols=columns)


def fit_into_page(svg: str, name: str, title: str) -> str:
    """Fit a figure into a page: no XML head, ids of its own, the page's ink, a name for readers."""
    body = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    body = body.replace("fill: #ffffff", "fill: none")  # the page's own background
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    return body.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
