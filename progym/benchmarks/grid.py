"""A table as a grid of text, and how it is written for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Line:
    """One row of a grid; `is_bold` where the row stands out."""

    cells: tuple[str, ...]
    is_bold: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of text; the first `labels` columns are words, the others numbers."""

    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    labels: int = 1


def to_rich(grid: Grid) -> Table:
    """Make a table for the terminal."""
    table = Table(
        title=grid.title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 1),
        collapse_padding=True,
    )
    for position, column in enumerate(grid.columns):
        is_label = position < grid.labels
        widest = max((len(line.cells[position]) for line in grid.lines), default=0)
        table.add_column(
            column,
            justify="left" if is_label else "right",
            no_wrap=True,
            # A narrow terminal cuts numbers, never the names that say whose they are.
            min_width=max(widest, len(column)) if is_label else None,
        )
    for line in grid.lines:
        table.add_row(*(Text(cell) for cell in line.cells), style="bold" if line.is_bold else None)
    if grid.notes:
        table.caption = "\n".join(grid.notes)
        table.caption_justify = "left"
    return table


def to_markdown(grid: Grid) -> str:
    """Make a Markdown table with its notes below."""
    rule = ["---" if position < grid.labels else "---:" for position in range(len(grid.columns))]
    rows = [_markdown_row(grid.columns), _markdown_row(rule)]
    for line in grid.lines:
        cells = [f"**{cell}**" if line.is_bold else cell for cell in line.cells]
        rows.append(_markdown_row(cells))
    notes = "".join(f"\n{note}\n" for note in grid.notes)
    return f"## {grid.title}\n\n" + "\n".join(rows) + "\n" + notes


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
