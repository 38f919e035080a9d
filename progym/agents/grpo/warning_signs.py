"""Signs that a module does not learn, told once each and in plain words."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from progym.agents.grpo.metrics import Metrics
from progym.agents.grpo.token_metrics import ENTROPY

logger = logging.getLogger(__name__)

STEPS = 5
"""Steps in a row that a sign has to show itself."""
_COLLAPSED = 0.1
"""The share of its first entropy below which a module's answers are nearly all the same."""


class WarningSigns:
    """Watches the modules of a run, step by step."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        given = state or {"level": {}, "seen": {}, "told": []}
        self._level: dict[str, int] = dict(given["level"])
        self._seen: dict[str, list[tuple[float, float]]] = {
            name: [(entropy, reward) for entropy, reward in steps]
            for name, steps in given["seen"].items()
        }
        self._told: list[str] = list(given["told"])

    @property
    def state(self) -> dict[str, Any]:
        """What a run that goes on has to know: plain values."""
        return {"level": self._level, "seen": self._seen, "told": self._told}

    def watch(self, modules: Mapping[str, Metrics]) -> list[str]:
        """Look at a step's metrics by module; logs what is new, and gives it."""
        signs = [
            sign
            for name, metrics in modules.items()
            for sign in (self._without_information(name, metrics), self._collapse(name, metrics))
            if sign
        ]
        for sign in signs:
            logger.warning(sign)
        return signs

    def _without_information(self, name: str, metrics: Metrics) -> str | None:
        level = metrics["frac_reward_zero_std"] == 1.0
        self._level[name] = self._level.get(name, 0) + 1 if level else 0
        if self._level[name] < STEPS or not self._is_new(f"level {name}"):
            return None
        return (
            f"For {STEPS} steps in a row, all rewards in every group of module {name!r} were "
            f"equal, {metrics['reward']:.3f} on average in the last: it learns nothing. If that is "
            "the best there is, stop here; else draw more rollouts, raise temperature, or take a "
            "reward that tells its answers apart."
        )

    def _collapse(self, name: str, metrics: Metrics) -> str | None:
        if ENTROPY not in metrics:
            return None
        seen = self._seen.setdefault(name, [])
        seen.append((metrics[ENTROPY], metrics["reward"]))
        first, last = _means(seen[:STEPS]), _means(seen[-STEPS:])
        fell, gained = last[0] <= _COLLAPSED * first[0], last[1] > first[1]
        if len(seen) < 2 * STEPS or not fell or gained or not self._is_new(f"entropy {name}"):
            return None
        return (
            f"The entropy of module {name!r} fell from {first[0]:.3f} to {last[0]:.3f} nats a "
            f"token and its reward from {first[1]:.3f} to {last[1]:.3f}: its answers are nearly "
            "all the same, and no better. Raise beta or temperature, lower learning_rate, or take "
            "a reward that says more about this module."
        )

    def _is_new(self, sign: str) -> bool:
        new = sign not in self._told
        if new:
            self._told.append(sign)
        return new


def _means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return fmean(one for one, _ in pairs), fmean(other for _, other in pairs)
