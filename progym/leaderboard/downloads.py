"""The board's numbers for programs: JSON and CSV with what the page shows, unrounded."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from progym.benchmarks.intervals import Estimate
from progym.leaderboard.board import Board, BoardRow, BoardTable

MEAN = "mean over tasks"
TIER = "replayed"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula."""


def to_json(board: Board) -> str:
    """Give the tables, and what became of each bundle."""
    values = {
        "schema_version": 1,
        "tables": [_table_values(table) for table in board.tables],
        "bundles": [
            {
                "file": verification.name,
                "sha256": verification.sha256,
                "outcome": verification.outcome,
                "codes": sorted({finding.code for finding in verification.findings}),
            }
            for verification in board.verifications
        ],
    }
    return json.dumps(values, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def to_csv(board: Board) -> str:
    """Give a line for each entry and task, and one for the entry's mean over tasks."""
    text = io.StringIO()
    columns = [
        *("suite", "suite_digest", "submission_id", "entrant", "model", "weights_sha256"),
        *("strategy", "tier"),
        *("seeds", "provisional", "best_rank", "worst_rank", "task", "fingerprint"),
        *("score", "low", "high", "gain", "gain_low", "gain_high"),
        *("rollouts", "tokens", "tokens_per_episode"),
    ]
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for table in board.tables:
        for row in table.rows:
            for line in _lines(table, row):
                writer.writerow({name: _cell(value) for name, value in line.items()})
    return text.getvalue()


def _table_values(table: BoardTable) -> dict[str, Any]:
    return {
        "suite": {"name": table.suite, "version": table.version, "digest": table.digest},
        "weights_sha256": table.weights,
        "tasks": [vars(task) for task in table.tasks],
        "entries": [_row_values(row) for row in table.rows],
    }


def _row_values(row: BoardRow) -> dict[str, Any]:
    entry, manifest = row.entry, row.manifest
    return {
        "submission_id": manifest.submission_id,
        "entrant": manifest.entrant.name,
        "model": manifest.base_model.name,
        "strategy": entry.strategy,
        "tier": TIER,
        "seeds": list(entry.seeds),
        "provisional": row.is_provisional,
        "ranks": [row.best_rank, row.worst_rank],
        "stands_out": row.stands_out,
        "mean": _interval(entry.mean),
        "gain": _interval(entry.gain),
        "tasks": {
            task.task: {
                "score": _interval(task.score),
                "gain": _interval(task.gain),
                "seed_means": list(task.seed_means),
            }
            for task in entry.tasks
        },
        "declared": {"rollouts": entry.rollouts, "tokens": entry.tokens},
        "tokens_per_episode": entry.tokens_per_episode,
    }


def _interval(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "method": estimate.method,
    }


def _lines(table: BoardTable, row: BoardRow) -> Iterator[dict[str, Any]]:
    entry, manifest = row.entry, row.manifest
    common = {
        "suite": table.suite,
        "suite_digest": table.digest,
        "submission_id": manifest.submission_id,
        "entrant": manifest.entrant.name,
        "model": manifest.base_model.name,
        "weights_sha256": table.weights,
        "strategy": entry.strategy,
        "tier": TIER,
        "seeds": len(entry.seeds),
        "provisional": "yes" if row.is_provisional else "no",
        "best_rank": row.best_rank,
        "worst_rank": row.worst_rank,
    }
    spent = {
        "rollouts": entry.rollouts,
        "tokens": entry.tokens,
        "tokens_per_episode": entry.tokens_per_episode,
    }
    yield common | {"task": MEAN} | _numbers(entry.mean, entry.gain) | spent
    for task, score in zip(table.tasks, entry.tasks, strict=True):
        place = {"task": task.name, "fingerprint": task.fingerprint}
        yield common | place | _numbers(score.score, score.gain)


def _numbers(score: Estimate, gain: Estimate | None) -> dict[str, float]:
    values = {"score": score.value, "low": score.low, "high": score.high}
    if gain is not None:
        values |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
    return values


def _cell(value: object) -> object:
    """Keep a spreadsheet from running a text; numbers may begin with a minus."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
