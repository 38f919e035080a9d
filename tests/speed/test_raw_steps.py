"""How many raw steps a second an environment makes, completions read beforehand."""

import statistics
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from progym.envs.env import ProgramEnv
from progym.envs.records import Completion
from progym.envs.tasks.hover import make_env

Script = tuple[dict[str, Any], list[Completion]]
"""The reset options of an episode, and the replies to its calls."""

STEPS_WANTED = 50_000
CLAIMS = 25


@pytest.fixture(scope="module")
def episodes() -> tuple[ProgramEnv, list[Script]]:
    """The raw environment, and for each claim the gold policy's replies, parsed beforehand."""
    env = make_env(split="test")
    scripts: list[Script] = []
    for example_id in env.examples.ids[:CLAIMS]:
        options: dict[str, Any] = {"example_id": example_id}
        replies: list[Completion] = []
        env.reset(options=options)
        ended = False
        while not ended:
            replies.append(Completion("", fields=env.gold_fields()))
            _, _, terminated, truncated, _ = env.step(replies[-1])
            ended = terminated or truncated
        scripts.append((options, replies))
    return env, scripts


def play(env: ProgramEnv, scripts: list[Script]) -> int:
    steps = 0
    for options, replies in scripts:
        env.reset(options=options)
        for reply in replies:
            env.step(reply)
        steps += len(replies)
    return steps


def test_raw_steps(
    episodes: Any,
    benchmark: BenchmarkFixture,
    rate: Callable[[Callable[[], int]], float],
    say: Callable[[str], None],
) -> None:
    rates: list[float] = []

    benchmark.pedantic(
        lambda: rates.append(rate(lambda: sum(play(*episodes) for _ in range(10)))),
        rounds=30,
        warmup_rounds=3,
    )

    speed = statistics.median(rates)
    benchmark.extra_info["steps_per_second"] = round(speed)
    say(f"raw HoVer4Hop-v0: {speed:,.0f} steps a CPU-second (wanted: {STEPS_WANTED:,})")
