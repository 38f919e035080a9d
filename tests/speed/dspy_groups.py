"""dspy's group forming, which stands inline in `GRPO.compile`, driven from outside and timed.

The real `compile` runs. Only what it would wait for is given to it at once: the traces of a step's
runs, made of our episodes, and a training job that keeps the groups it is sent.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import dspy
import dspy.teleprompt.grpo as dspy_grpo
from dspy.teleprompt.bootstrap_trace import FailedPrediction
from dspy.utils.dummies import DummyLM

from progym.agents.grpo.grouping import Group
from progym.envs.records import CallRecord, Episode
from progym.envs.rendering import Message

Groups = list[list[dict[str, Any]]]
"""As dspy's jobs take them: each member with its messages, its completion and its reward."""

PLENTY = 1000


@dataclass
class Job:
    """Wants so many groups a step, and keeps what came, each group once; dspy repeats them."""

    wanted: int = PLENTY
    steps: list[Groups] = field(default_factory=list[Groups])
    stopped: float = 0.0

    def get_status(self) -> dict[str, list[int]]:
        first = len(self.steps) * self.wanted
        return {"pending_batch_ids": list(range(first, first + self.wanted))}

    def step(self, train_data: list[dict[str, Any]], train_data_format: str) -> None:
        self.stopped = time.process_time()
        groups = {id(item["group"]): item["group"] for item in train_data}
        self.steps.append(list(groups.values()))

    def terminate(self) -> None:
        pass


class TrainedLM(DummyLM):
    """A model that is trained by a job and asked nothing."""

    def __init__(self, job: Job) -> None:
        super().__init__([])
        self.job = job

    def reinforce(self, train_kwargs: dict[str, Any]) -> Job:
        return self.job


def form(
    program: dspy.Module,
    *batches: Sequence[Episode],
    size: int,
    adapter: dspy.Adapter | None = None,
    wanted: int = PLENTY,
    padding: str = "truncate",
) -> tuple[list[Groups], float]:
    """Give the groups dspy sends in each step, and the CPU seconds the last took it to form them.

    Each batch has `size` runs of each of its examples; those that are faults do not come back.
    """
    job = Job(wanted)
    program.set_lm(TrainedLM(job))
    ids = list(dict.fromkeys(episode.example_id for episode in batches[0]))
    given = [_runs(program, batch) for batch in batches]
    started = 0.0

    def give(dataset: list[dspy.Example], **_: Any) -> list[dict[str, Any]]:
        nonlocal started
        runs = given[len(job.steps)]
        asked = [(place, example, runs[example.id]) for place, example in enumerate(dataset)]
        found = [
            {"example": example, "example_ind": place, **of_example[place // len(ids)]}
            for place, example, of_example in asked
            if of_example[place // len(ids)]
        ]
        started = time.process_time()
        return found

    with patch.object(dspy_grpo, "bootstrap_trace_data", give):
        optimizer = dspy_grpo.GRPO(
            exclude_demos=True,
            adapter=adapter,
            num_train_steps=len(batches),
            num_dspy_examples_per_grpo_step=len(ids),
            num_rollouts_per_grpo_step=size,
            variably_invoked_predictor_grouping_mode=padding,  # pyright: ignore[reportArgumentType]
            variably_invoked_predictor_fill_strategy="randint" if padding == "fill" else None,
        )
        optimizer.compile(program, [dspy.Example(id=x).with_inputs("id") for x in ids])
    return job.steps, job.stopped - started


def _runs(program: dspy.Module, episodes: Sequence[Episode]) -> dict[str, list[dict[str, Any]]]:
    """Each example's runs, as `bootstrap_trace_data` tells of them; nothing of a fault."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for episode in episodes:
        run = {
            "trace": [
                (getattr(program, call.module), _inputs(call), _output(call, episode.reward))
                for call in episode.calls
            ],
            "score": episode.reward,
        }
        runs.setdefault(episode.example_id, []).append({} if episode.status == "fault" else run)
    return runs


def _inputs(call: CallRecord) -> dict[str, Any]:
    return {n: v if isinstance(v, str) else list(v) for n, v in call.inputs.items()}


def _output(call: CallRecord, reward: float) -> dspy.Prediction | FailedPrediction:
    if call.error is None:
        return dspy.Prediction(**call.fields)
    return FailedPrediction(call.completion, format_reward=reward)


def rendered(program: dspy.Module, episode: Episode, adapter: dspy.ChatAdapter) -> Episode:
    """The same run with the prompts that an adapter of dspy's renders, and its completions."""
    calls: list[CallRecord] = []
    for call in episode.calls:
        signature = getattr(program, call.module).signature
        messages = adapter.format(signature=signature, demos=[], inputs=_inputs(call))
        prompt = tuple(Message(role=m["role"], content=m["content"]) for m in messages)
        completion = call.completion
        if call.error is None:
            outputs = dspy.Prediction(**call.fields)
            completion = adapter.format_assistant_message_content(signature, outputs)  # pyright: ignore[reportArgumentType] - dspy itself gives it predictions
        calls.append(replace(call, prompt=prompt, completion=completion))
    return replace(episode, calls=tuple(calls))


def as_sent(groups: Sequence[Group]) -> Groups:
    """Our groups as dspy's jobs would be sent them."""
    return [
        [
            {
                "messages": list(call.prompt),
                "completion": {"role": "assistant", "content": call.completion},
                "reward": member.reward,
            }
            for member in group.members
            for call in member.calls
        ]
        for group in groups
    ]
