"""What a step's episodes and groups say, in all, by module and by step type; TRL's names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from progym.agents.grpo.advantages import is_level
from progym.agents.grpo.forming import Groups
from progym.agents.grpo.grouping import Group
from progym.envs.module import StepType
from progym.envs.records import CallRecord, Episode

Metrics = dict[str, float]


def mean_score(episodes: Sequence[Episode]) -> float | None:
    """Average the scores; a fault of the system has none."""
    scores = [episode.score for episode in episodes if episode.score is not None]
    return float(np.mean(scores)) if scores else None


def summarize_step(episodes: Sequence[Episode], formed: Groups) -> Metrics:
    """Describe a step; episodes that a fault ended count only as faults."""
    usable = [episode for episode in episodes if episode.status != "fault"]
    return {
        **_describe_rewards([episode.reward for episode in usable]),
        "score": mean_score(usable) or 0.0,
        **_describe_calls([call for episode in usable for call in episode.calls]),
        **_describe_groups(formed.groups),
        "rollouts": len(episodes),
        "rollouts/faults": formed.faults,
        "groups/singles": formed.singles,
    }


def summarize_modules(episodes: Sequence[Episode], formed: Groups) -> dict[str, Metrics]:
    """Describe each module's calls and groups, modules in the order they were called."""
    return _summarize(episodes, formed, lambda step_type: step_type.module)


def summarize_step_types(episodes: Sequence[Episode], formed: Groups) -> dict[str, Metrics]:
    """Describe the calls and groups of each (module, occurrence), by its text: `module:0`."""
    return _summarize(episodes, formed, str)


def _summarize(
    episodes: Sequence[Episode], formed: Groups, key: Callable[[StepType], str]
) -> dict[str, Metrics]:
    calls: dict[str, list[tuple[CallRecord, float]]] = {}
    for episode in episodes:
        if episode.status != "fault":
            for call in episode.calls:
                name = key(StepType(call.module, call.occurrence))
                calls.setdefault(name, []).append((call, episode.reward))
    return {
        name: {
            "calls": len(made),
            **_describe_rewards([reward for _, reward in made]),
            **_describe_calls([call for call, _ in made]),
            # A group of whole runs is one of every call in them.
            **_describe_groups(
                [g for g in formed.groups if g.step_type is None or key(g.step_type) == name]
            ),
        }
        for name, made in calls.items()
    }


def _describe_rewards(rewards: Sequence[float]) -> Metrics:
    return {
        "reward": float(np.mean(rewards)),
        "reward_std": float(np.std(rewards, ddof=1)) if len(rewards) > 1 else 0.0,
    }


def _describe_calls(calls: Sequence[CallRecord]) -> Metrics:
    if not calls:
        return {}
    lengths = [len(call.token_ids) for call in calls]
    return {
        "parse_failure_rate": float(np.mean([call.error is not None for call in calls])),
        "completions/mean_length": float(np.mean(lengths)),
        "completions/max_length": max(lengths),
        "completions/clipped_ratio": float(np.mean([call.finish == "length" for call in calls])),
        "tokens/prompt": sum(call.prompt_tokens for call in calls),
        "tokens/completion": sum(lengths),
    }


def _describe_groups(groups: Sequence[Group]) -> Metrics:
    """Describe groups; those whose rewards are all the same teach nothing."""
    sizes = [len(group.members) for group in groups]
    sizes_of_advantages = [abs(value) for group in groups for value in group.advantages]
    level = [is_level(group.rewards) for group in groups]
    return {
        "groups": len(groups),
        "groups/mean_size": float(np.mean(sizes)) if sizes else 0.0,
        "frac_reward_zero_std": float(np.mean(level)) if level else 0.0,
        "advantages/mean_abs": float(np.mean(sizes_of_advantages)) if sizes else 0.0,
    }
