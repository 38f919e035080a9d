"""What a report shows of a step: the runs of one example, each call with its advantages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from progym.agents.grpo.forming import Groups
from progym.envs.records import Episode


def describe_runs(
    step: int,
    episodes: Sequence[Episode],
    formed: Groups,
    drawn_by: Callable[[int], int],
) -> Iterator[dict[str, Any]]:
    """Describe the runs of the first example that has groups, without their token ids.

    A call's `advantages` are those of all groups it stands in: `fill` puts some into several, and
    what was left out has none. `drawn_by` is 0 for the policy, k for its k-th teacher.
    """
    if not formed.groups:
        return
    shown = formed.groups[0].example_id
    advantages: dict[tuple[int, int], list[float]] = {}
    for group in formed.groups:
        for member, advantage in zip(group.members, group.advantages, strict=True):
            for place in member.places:
                advantages.setdefault((member.run, place), []).append(advantage)
    for run, episode in enumerate(episodes):
        if episode.example_id == shown:
            yield {
                "step": step,
                "run": run,
                "drawn_by": drawn_by(run),
                "example_id": shown,
                "status": episode.status,
                "reward": episode.reward,
                "score": episode.score,
                "metrics": dict(episode.metrics),
                "fault": episode.fault,
                "calls": [
                    {
                        "module": call.module,
                        "occurrence": call.occurrence,
                        "prompt": [dict(message) for message in call.prompt],
                        "completion": call.completion,
                        "error": call.error,
                        "finish": call.finish,
                        "progress": call.progress,
                        "tokens": len(call.token_ids),
                        "advantages": advantages.get((run, place), []),
                    }
                    for place, call in enumerate(episode.calls)
                ],
            }
