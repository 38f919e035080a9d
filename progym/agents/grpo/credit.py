"""Credit: what the calls of an episode are rewarded with, and which of them are trained on.

Pure functions on records. An episode whose last completion could not be read earned its
environment's failure reward, which the good calls before that one inherit unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from progym.envs.errors import BadValue
from progym.envs.records import Episode

Unreadable = Callable[[Episode], float]
"""Gives the reward of an episode that ended with an unreadable completion."""

Credit = Callable[[Episode, float], Sequence[float]]
"""Gives each call of an episode its reward, of the episode's reward."""

FailedRuns = Callable[[Episode], Sequence[int]]
"""Gives the calls that are trained on, by position, where the last one could not be read."""


def hard(episode: Episode) -> float:
    """Leave the failure reward as it is."""
    return episode.reward


def soft(episode: Episode) -> float:
    """Take the failure reward by the share of output fields that were missing (DSPy's rule)."""
    failing = episode.calls[-1]
    return episode.reward * len(failing.missing) / (len(failing.missing) + len(failing.fields))


def final(episode: Episode, reward: float) -> list[float]:
    """Credit every call with the episode's reward (the paper's rule)."""
    return [reward] * len(episode.calls)


def to_go(episode: Episode, reward: float) -> list[float]:
    """Credit a call with what came after it: the reward less the progress there was before.

    The reward to go under potential-based shaping, progress being the potential; raises BadValue
    where the task measures none.
    """
    found: list[float] = []
    for call in episode.calls:
        if call.progress is None:
            raise BadValue(
                f"credit 'to_go' needs a task that measures progress; {episode.env_id or 'this'} "
                "does not. Take credit 'final', or give its environment a `progress` function."
            )
        found.append(reward - call.progress)
    return found


def whole(episode: Episode) -> Sequence[int]:
    """Train on all calls of a failed run: the good ones inherit its reward (the paper's rule)."""
    return range(len(episode.calls))


def failing_call(episode: Episode) -> Sequence[int]:
    """Train on the failing call alone; its run's other calls leave their groups."""
    return (len(episode.calls) - 1,)


UNREADABLE: dict[str, Unreadable] = {"hard": hard, "soft": soft}
CREDITS: dict[str, Credit] = {"final": final, "to_go": to_go}
FAILED_RUNS: dict[str, FailedRuns] = {"whole": whole, "failing_call": failing_call}
"""By the name a config gives."""
