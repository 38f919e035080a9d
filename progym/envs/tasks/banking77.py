"""Banking77: one module names the intent of a bank customer's message among 77; exact match."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path

from progym.envs import sources
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadData
from progym.envs.module import Field, Module
from progym.envs.program import Example, Outcome, Program, Score, Steps
from progym.envs.rendering import Call
from progym.envs.run import Limits
from progym.envs.sources.data import TaskData
from progym.envs.worlds import intents


def make_env(
    *,
    split: str = "train",
    data: str | Path = "embedded",
    world_seed: int = 0,
    size: int | None = None,
    labels_in_prompt: bool = True,
    max_calls: int | None = None,
    max_tokens: int | None = None,
    failure_reward: float = -1.0,
    render_mode: str | None = None,
) -> ProgramEnv:
    """Make Banking77-v0; each episode classifies one message in one call.

    Args:
        split: "train", "val" or "test"; the embedded world also has "pretrain".
        data: "embedded", "hub", or a folder in our format.
        world_seed: Which embedded world; another seed gives messages no one has seen.
        size: Examples of the embedded split; the world's default where absent.
        labels_in_prompt: Show the 77 labels, and count any other label as unreadable.
        max_calls: Module calls an episode may spend.
        max_tokens: Completion tokens an episode may spend.
        failure_reward: Reward of a completion that can't be read.
        render_mode: None or "ansi".
    """
    program = make_program(labels_in_prompt)
    task_data = sources.load_task(
        "banking77", intents.world, data, split, world_seed=world_seed, size=size
    )
    if labels_in_prompt and data != "embedded":
        _check_labels(task_data, data)
    return ProgramEnv(
        program,
        task_data.examples,
        score,
        gold=write_gold,
        split=split,
        fingerprint=task_data.fingerprint,
        limits=Limits(max_calls=max_calls, max_tokens=max_tokens),
        failure_reward=failure_reward,
        render_mode=render_mode,
    )


@cache
def make_program(labels_in_prompt: bool) -> Program:
    """Build the program once per form, since modules compare by identity."""
    classify = _make_module(labels_in_prompt)
    return Program((classify,), partial(_run, classify))


def _run(classify: Module, text: str) -> Steps:
    reply = yield classify(text=text)
    return {"label": reply["label"]}


def _make_module(labels_in_prompt: bool) -> Module:
    return Module(
        name="classify",
        instruction="Find the intent of a bank customer's message. Think, then give the label.",
        inputs=(Field("text"),),
        outputs=(
            Field("reasoning", "what the customer asks about"),
            Field(
                "label",
                "the intent in lower_snake_case",
                choices=intents.LABELS if labels_in_prompt else (),
            ),
        ),
    )


def score(example: Example, outcome: Outcome) -> Score:
    """Score 1 for the gold label, else 0."""
    accuracy = float(outcome["label"] == example.gold["label"])
    return Score(accuracy, {"accuracy": accuracy})


def write_gold(example: Example, call: Call) -> Mapping[str, str]:  # noqa: ARG001 - one module only
    """Write the right reply: what the customer asks about, and the label."""
    label = example.gold["label"]
    # Real data without labels in the prompt may use labels of its own, which have no gloss.
    gloss = intents.GLOSSES.get(label, label.replace("_", " "))
    return {"reasoning": f"the customer asks about {gloss}.", "label": label}


def _check_labels(task_data: TaskData, data: str | Path) -> None:
    for example in task_data.examples:
        if example.gold["label"] not in intents.GLOSSES:
            raise BadData(
                f"Example {example.id!r} of {str(data)!r} has the label {example.gold['label']!r}, "
                "which is none of the 77 that the prompt shows. Correct it, or pass "
                "labels_in_prompt=False."
            )
