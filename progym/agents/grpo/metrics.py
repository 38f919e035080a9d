"""What a step's episodes and groups say, in all and by module; TRL's names where it has one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from progym.agents.grpo.advantages import is_level
from progym.agents.grpo.grouping import Group, Groups
from progym.agents.storage import cannot_write
from progym.envs.records import CallRecord, Episode

Metrics = dict[str, float]


def mean_score(episodes: Sequence[Episode]) -> float | None:
    """Average the scores; a fault of the system has none."""
    scores = [episode.score for episode in episodes if episode.score is not None]
    return float(np.mean(scores)) if scores else None


def summarize_step(episodes: Sequence[Episode], formed: Groups) -> Metrics:
    """Describe a step; episodes that a fault ended count only as faults."""
    usable = [episode for episode in episodes if episode.status != "fault"]
    rewards = [episode.reward for episode in usable]
    calls = [call for episode in usable for call in episode.calls]
    return {
        "reward": float(np.mean(rewards)),
        "reward_std": float(np.std(rewards, ddof=1)) if len(rewards) > 1 else 0.0,
        "score": mean_score(usable) or 0.0,
        "frac_reward_zero_std": _level_share(formed.groups),
        **_describe_calls(calls),
        "rollouts": len(episodes),
        "rollouts/faults": formed.faults,
        "groups": len(formed.groups),
        "groups/singles": formed.singles,
    }


def summarize_modules(episodes: Sequence[Episode], formed: Groups) -> dict[str, Metrics]:
    """Describe each module's calls and groups, modules in the order they were called."""
    calls: dict[str, list[tuple[CallRecord, float]]] = {}
    for episode in episodes:
        if episode.status != "fault":
            for call in episode.calls:
                calls.setdefault(call.module, []).append((call, episode.reward))
    found: dict[str, Metrics] = {}
    for module, made in calls.items():
        groups = [group for group in formed.groups if group.step_type.module == module]
        found[module] = {
            "calls": len(made),
            "reward": float(np.mean([reward for _, reward in made])),
            "groups": len(groups),
            "frac_reward_zero_std": _level_share(groups),
            "parse_failure_rate": float(np.mean([call.error is not None for call, _ in made])),
            **_describe_calls([call for call, _ in made]),
        }
    return found


class MetricsFile:
    """JSON lines that are flushed as they are written; what is not a finite number becomes null."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)

    def write(self, values: Mapping[str, Any]) -> None:
        """Append a line; raises RecordingFailed."""
        line = json.dumps(_finite(values), ensure_ascii=False, allow_nan=False)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise cannot_write(self._path, error) from error


def _describe_calls(calls: Sequence[CallRecord]) -> Metrics:
    if not calls:
        return {}
    return {
        "completions/mean_length": float(np.mean([len(call.token_ids) for call in calls])),
        "completions/clipped_ratio": float(np.mean([call.finish == "length" for call in calls])),
    }


def _level_share(groups: Sequence[Group]) -> float:
    """The share of groups whose rewards are all the same: they teach nothing."""
    return float(np.mean([is_level(group.rewards) for group in groups])) if groups else 0.0


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        values = cast("Mapping[str, Any]", value)
        return {key: _finite(item) for key, item in values.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
