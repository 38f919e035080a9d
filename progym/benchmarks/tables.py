"""The tables of a run as grids of text, for the terminal, Markdown and the page alike."""

from __future__ import annotations

from collections.abc import Sequence

from progym.benchmarks import paper
from progym.benchmarks.grid import Grid, Line
from progym.benchmarks.intervals import Estimate
from progym.benchmarks.results import (
    Comparison,
    Interaction,
    Results,
    Row,
    SuiteRow,
    TaskResult,
)

TESTBED = (
    "Embedded worlds are generated text: these numbers are a testbed for the machinery and no "
    "evidence for or against the paper's claims."
)
READING = (
    "Scores and gains in percent with 95 % intervals over seeds and examples (two-source "
    "Satterthwaite t, examples paired, not corrected for the number of comparisons). Optimization "
    "costs are means over seeds and count what the strategy costs alone, though stages that "
    "strategies share are computed once. Bold: the interval overlaps no other strategy's."
)
_NONE = "-"
_NARROW = ("strategy", "score [95 %]", "gain [95 %]", "rollouts", "tokens", "s", "tok/ep")
_COSTS = ("rollouts", "tokens", "seconds", "tokens per test episode")


def task_grid(task: TaskResult, baseline: str, *, wide: bool = False) -> Grid:
    """Lay out one task in 80 columns; `wide` adds the bootstrap and a verdict on each gain."""
    gains = (_gain_over(baseline), "bootstrap", "interval")
    seeds = max(row.seeds_planned for row in task.rows)
    return Grid(
        title=f"{task.task} ({task.env_id}, {task.examples} examples, {_count(seeds, 'seed')})",
        columns=("strategy", "score [95 %]", "bootstrap", *gains, *_COSTS) if wide else _NARROW,
        lines=tuple(Line(_row_cells(row, wide), row.stands_out) for row in task.rows),
        notes=(
            *_gaps(task),
            _standing(task),
            *(() if wide else _verdicts(task, baseline)),
            *(describe_interaction(entry) for entry in task.interactions),
        ),
    )


def suite_grid(results: Results, *, wide: bool = False) -> Grid:
    """Lay out the means over tasks; `wide` puts the tasks' own numbers before them."""
    tasks = results.tasks if wide else ()
    gain = _gain_over(results.baseline)
    return Grid(
        title="All tasks" if wide else f"Mean over {_count(len(results.tasks), 'task')}",
        columns=(
            "strategy",
            *(column for task in tasks for column in (task.task, gain)),
            *("mean score [95 %]", f"mean {gain}", "interval"),
        ),
        lines=tuple(Line(_suite_cells(row, tasks)) for row in results.suite),
    )


def paper_grid(results: Results) -> Grid | None:
    """Lay out the paper's table for the environments at hand; None if it has none of them."""
    envs = [t.env_id for t in results.tasks if t.env_id in paper.ROWS[0].scores]
    if not envs:
        return None
    lines = [
        Line(
            (
                row.model,
                row.strategy,
                *(f"{row.scores[env][0]:.1f} ± {row.scores[env][1]:.1f}" for env in envs),
            )
        )
        for row in paper.ROWS
    ]
    columns = ("model", "strategy", *envs)
    return Grid("The paper's table", columns, tuple(lines), (paper.CAPTION,), labels=2)


def grids(results: Results, *, wide: bool = False) -> list[Grid]:
    """Lay out everything, the paper's table last."""
    found = [task_grid(task, results.baseline, wide=wide) for task in results.tasks]
    if len(results.tasks) > 1:
        found.append(suite_grid(results, wide=wide))
    papers = paper_grid(results)
    return [*found, papers] if papers else found


def remarks(results: Results) -> tuple[str, ...]:
    """Say how to read the tables."""
    return (READING, TESTBED) if results.is_embedded else (READING,)


def show_score(estimate: Estimate) -> str:
    """Write a score in percent with its interval: `43.2 [38.1, 48.3]`."""
    return f"{_percent(estimate.value)} {_interval(estimate)}"


def show_gain(estimate: Estimate) -> str:
    """Write a difference in points with its sign: `+5.1 [1.2, 9.0]`."""
    return f"{_percent(estimate.value, '+')} {_interval(estimate)}"


def describe_interaction(entry: Interaction) -> str:
    """Say what composing adds beyond its parts."""
    estimate = entry.comparison.estimate
    return (
        f"Composing: {entry.strategy} gains {show_gain(estimate)} points beyond the sum of what "
        f"its stages gain alone (2x2 interaction); the interval {entry.comparison.verdict}."
    )


def short(number: float) -> str:
    """Write a count with three digits: 950, 12.4k, 1.20M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit * 0.9995:
            scaled = number / limit
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f}{unit}"
    return f"{number:.0f}"


def _row_cells(row: Row, wide: bool) -> tuple[str, ...]:
    score, gain = row.score, row.gain
    cells = [row.strategy, _score_cell(row)]
    if wide:
        cells.append(_interval(score.bootstrap) if score else _NONE)
    cells.append(show_gain(gain.estimate) if gain else _NONE)
    if wide:
        cells.append(_interval(gain.bootstrap) if gain else _NONE)
        cells.append(gain.verdict if gain else _NONE)
    cost = row.optimization
    if cost is None:
        cells += [_NONE] * 3
    else:
        tokens = cost.prompt_tokens + cost.completion_tokens
        cells += [short(cost.rollouts), short(tokens), f"{cost.seconds:.0f}"]
    cells.append(_NONE if row.tokens_per_episode is None else short(row.tokens_per_episode))
    return tuple(cells)


def _suite_cells(row: SuiteRow, tasks: Sequence[TaskResult]) -> tuple[str, ...]:
    cells = [row.strategy]
    for own in (task.row(row.strategy) for task in tasks):
        cells += [_score_cell(own), show_gain(own.gain.estimate) if own.gain else _NONE]
    cells.append(show_score(row.score) if row.score else _NONE)
    cells += [show_gain(row.gain), _zero(row.gain)] if row.gain else [_NONE, _NONE]
    return tuple(cells)


def _verdicts(task: TaskResult, baseline: str) -> tuple[str, ...]:
    """Say whose gain can be told from 0."""
    gains = {row.strategy: row.gain for row in task.rows if row.gain is not None}
    if not gains:
        return ()
    clear = [name for name, gain in gains.items() if gain.estimate.excludes_zero]
    unclear = [name for name in gains if name not in clear]
    parts = [f"excludes 0 for {', '.join(clear)}"] if clear else []
    parts += [f"includes 0 for {', '.join(unclear)}"] if unclear else []
    return (f"The gain over {baseline} {' and '.join(parts)}.",)


def _score_cell(row: Row) -> str:
    if row.score is None:
        return "no score" if row.faults else "not run yet"
    text = show_score(row.score.estimate)
    return text if row.is_complete else f"{text} ({row.seeds_done}/{row.seeds_planned})"


def _gaps(task: TaskResult) -> tuple[str, ...]:
    """Say what is missing or uncertain about the scores, and what to do."""
    notes: list[str] = []
    for row in task.rows:
        if row.faults:
            notes.append(
                f"{row.strategy} has no score: the system failed {row.faults} of its episodes. "
                "Mend that and run again with --resume."
            )
        elif row.score is not None and not row.is_complete:
            notes.append(
                f"{row.strategy}: {row.seeds_done} of {row.seeds_planned} seeds are done; its gain "
                "waits for the rest."
            )
    if any(row.score and row.score.estimate.method == "items only" for row in task.rows):
        notes.append("With one seed the intervals cover examples only, not seeds.")
    return tuple(notes)


def _standing(task: TaskResult) -> str:
    scored = [row for row in task.rows if row.score is not None]
    best = next((row for row in scored if row.stands_out), None)
    if best is not None:
        return f"{best.strategy} is best: its interval overlaps no other's."
    if len(scored) < 2:
        return "Nothing to compare yet."
    highest = max(_value(row.score) for row in scored)
    top = [row.strategy for row in scored if _value(row.score) == highest]
    if len(top) > 1:
        return f"{', '.join(top)} share the highest mean, so none is bold."
    return f"{top[0]} has the highest mean; its interval overlaps another's, so none is bold."


def _gain_over(baseline: str) -> str:
    return f"gain over {baseline} [95 %]"


def _value(comparison: Comparison | None) -> float:
    return comparison.estimate.value if comparison else -1.0


def _zero(estimate: Estimate) -> str:
    return "excludes 0" if estimate.excludes_zero else "includes 0"


def _percent(value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f}"


def _interval(estimate: Estimate) -> str:
    return f"[{_percent(estimate.low)}, {_percent(estimate.high)}]"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
