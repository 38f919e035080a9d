"""How texts are judged: which units stand in them, and what a model says of two responses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import pytest

from progym.envs.env import ProgramEnv
from progym.envs.errors import ServiceFault
from progym.envs.judging import Judgement, judge_quality, read_verdict, share_present
from progym.envs.module import Ask
from progym.envs.rendering import Call

Strategy = Callable[[ProgramEnv, Call], Mapping[str, str]]


@pytest.mark.parametrize(
    ("unit", "text", "stands"),
    [
        ("Ann", "ann's house", True),
        ("Ann", "an annual fee", False),
        ("Ann", "_Ann_ and **Bob**", True),
        ("42 17 88", "call 42-17-88.", True),
        ("42 17 88", "call 142 17 88", False),
        ("Kanil Bank", "at KANIL\n bank,", True),
        ("Kanil Bank", "the bank of Kanil", False),
        ("C++", "c++ and c", True),
        ("<NAME>", "dear <name>!", True),
        ("李明", "我叫李明住在", True),
        ("\uff22\uff41\uff42\uff4f\uff52", "Babor", True),
        ("Babor@Kanil.net", "babor@kanilxnet", False),
    ],
)
def test_a_unit_stands_in_a_text_as_whole_words(unit: str, text: str, stands: bool) -> None:
    assert share_present([unit], text) == float(stands)


def test_a_unit_listed_twice_counts_once_and_no_unit_is_no_share() -> None:
    assert share_present(["Ann", "ann", " ", "Bob"], "Ann") == 0.5
    assert share_present([], "Ann") == share_present(["-"], "Ann") == 0.0


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("Yes.", "yes"),
        ("**No**, since B is longer", "no"),
        ("no, yes would be wrong", "no"),
        ("Response A is good, so yes", "yes"),
        ("<think>no? no!</think>\nYes", "yes"),
        ("<think>The user wants no fluff, so", None),
        ("<think>a</think>yes<think>", None),
        ("It could be yes or no", None),
        ("", None),
        ("Nothing eyes me", None),
    ],
)
def test_a_verdict_is_read_or_known_to_be_unreadable(said: str, verdict: str | None) -> None:
    assert read_verdict(said) == verdict


def drive(steps: Generator[Ask, str, Any], said: list[str]) -> tuple[list[Ask], Any]:
    asked = [next(steps)]
    for text in said:
        try:
            asked.append(steps.send(text))
        except StopIteration as stop:
            return asked, stop.value
    raise AssertionError(f"still asking: {asked[-1]}")


@pytest.mark.parametrize(
    ("said", "quality", "unreadable"),
    [
        (["yes", "no"], 1.0, 0),
        (["yes", "yes"], 1.0, 0),
        (["no", "no"], 1.0, 0),  # contradictory: neither is as good as the other
        (["no", "yes"], 0.0, 0),
        (["hm", "no", "hm", "hm", "yes"], 0.0, 3),
    ],
)
def test_quality_is_lost_only_when_both_orders_say_so(
    said: list[str], quality: float, unreadable: int
) -> None:
    asked, result = drive(judge_quality("query", "new", "target"), said)
    assert result == Judgement(quality, said == ["no", "no"], unreadable)
    assert (asked[0].request["response_a"], asked[-1].request["response_a"]) == ("new", "target")
    assert len(asked) == len(said)


def test_a_judge_that_never_decides_is_a_fault_that_quotes_it() -> None:
    steps = judge_quality("query", "new", "target")
    next(steps)
    steps.send("well")
    steps.send("maybe")
    with pytest.raises(ServiceFault, match=r"neither yes nor no in 3 attempts.*'perhaps'"):
        steps.send("perhaps")


# --- real data ----------------------------------------------------------------------------------
