"""The records of a run: `metrics.jsonl`, a line an update or evaluation, and `runs.jsonl`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from progym.agents.grpo import METRICS, RUNS
from progym.agents.grpo.checkpoint import Checkpoint
from progym.agents.grpo.forming import Groups
from progym.agents.grpo.json_lines import JsonLines
from progym.agents.grpo.metrics import (
    Metrics,
    summarize_modules,
    summarize_step,
    summarize_step_types,
)
from progym.agents.grpo.sampled_runs import describe_runs
from progym.agents.grpo.token_metrics import ENTROPY, KL, TokenSums, by_module, means_of
from progym.agents.grpo.warning_signs import WarningSigns
from progym.envs.module import StepType
from progym.envs.records import Episode


class StepRecord:
    """What is known of a step so far; of a step that failed early, little."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.started = self.sampled_at = time.perf_counter()
        self.whole: Metrics = {"step": step}
        self.modules: dict[str, Metrics] = {}
        self.step_types: dict[str, Metrics] = {}

    def describe(
        self, episodes: Sequence[Episode], formed: Groups, *, rows: int, trained: int
    ) -> None:
        """Note what was drawn, and how many rows it made."""
        self.modules = summarize_modules(episodes, formed)
        self.step_types = summarize_step_types(episodes, formed)
        self.whole = {
            "step": self.step,
            **summarize_step(episodes, formed),
            "rows": rows,
            "rows/trained": trained,
            "time/rollout": self.sampled_at - self.started,
        }


class StepRecords:
    """Writes a run's records; one that goes on continues those of its checkpoint."""

    def __init__(self, folder: Path, resumed: Checkpoint | None) -> None:
        lines = resumed.lines if resumed else dict[str, int]()
        self._files = {
            name: JsonLines(folder / name, keep=lines.get(name, 0)) for name in (METRICS, RUNS)
        }
        self.signs = WarningSigns(resumed.signs if resumed else None)

    @property
    def lines(self) -> dict[str, int]:
        """How many lines each file has."""
        return {name: file.count for name, file in self._files.items()}

    def note(self, values: Mapping[str, Any]) -> None:
        """Write a line that is not about an update."""
        self._files[METRICS].write(values)

    def keep_runs(
        self,
        step: int,
        episodes: Sequence[Episode],
        formed: Groups,
        drawn_by: Callable[[int], int],
    ) -> None:
        """Keep the runs of one example with their advantages and who drew them."""
        for values in describe_runs(step, episodes, formed, drawn_by):
            self._files[RUNS].write(values)

    def write(
        self,
        step: StepRecord,
        values: Mapping[str, Any],
        sums: Mapping[int, TokenSums],
        step_types: Sequence[StepType],
        grad_norms: Mapping[str, float],
    ) -> dict[str, Any]:
        """Write an update's line: TRL's values, the step's, and those of modules and step types."""
        by_type = {str(step_types[where]): one for where, one in sums.items()}
        whole = by_module(sums, step_types)
        modules = {
            name: {**metrics, **means_of(whole.get(name)), **_of("grad_norm", grad_norms, name)}
            for name, metrics in step.modules.items()
        }
        types = {
            name: {**metrics, **means_of(by_type.get(name))}
            for name, metrics in step.step_types.items()
        }
        if not sums:  # nothing was trained on: TRL's mean over no tokens is not one
            values = {**values, ENTROPY: None, KL: None}
        warnings = self.signs.watch(modules) if "loss" in values else []
        timing = {"time/update": time.perf_counter() - step.sampled_at}
        record = {**values, "split": "train", **step.whole, **timing, "warnings": warnings}
        record |= {"modules": modules, "step_types": types}
        self._files[METRICS].write(record)
        return record


def flatten(record: Mapping[str, Any]) -> dict[str, float]:
    """Give the numbers of a record by path, such as `modules/NAME/reward`."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            inner = flatten(cast("Mapping[str, Any]", value))
            found |= {f"{name}/{path}": number for path, number in inner.items()}
        elif isinstance(value, (int, float)):
            found[name] = value
    return found


def _of(name: str, values: Mapping[str, float], key: str) -> Metrics:
    return {name: values[key]} if key in values else {}
