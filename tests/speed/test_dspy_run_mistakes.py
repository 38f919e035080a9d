"""Where dspy's runs err before groups are formed of them: what it brings back, and what ours does.

dspy's side is its `bootstrap_trace_data`, by which `GRPO.compile` runs a program.
"""

from collections.abc import Sequence
from typing import Any

import dspy
import pytest
from dspy.teleprompt.bootstrap_trace import FailedPrediction, bootstrap_trace_data
from dspy.utils.dummies import DummyLM

from progym.agents.grpo.credit import soft
from progym.envs.env import ProgramEnv
from progym.envs.module import Field, Module
from progym.envs.program import Example, Program, Score
from progym.envs.records import Episode

ask = Module("ask", "Ask.", (Field("word"),), (Field("query"),))
tell = Module("tell", "Tell.", (Field("query"),), (Field("answer"), Field("why")))

READABLE = [{"query": "q"}, {"answer": "a", "why": "w"}]
PARTIAL = [{"query": "q"}, {"answer": "a"}]
UNREADABLE = [{"query": "q"}, {"nothing": "n"}]


class Talk(dspy.Module):
    """Asks, then tells."""

    def __init__(self) -> None:
        super().__init__()
        self.ask, self.tell = dspy.Predict("word -> query"), dspy.Predict("query -> answer, why")

    def forward(self, word: str) -> dspy.Prediction:
        return self.tell(query=self.ask(word=word).query)


class Patient(Talk):
    """Makes up an answer where none could be read."""

    def forward(self, word: str) -> dspy.Prediction:
        try:
            return super().forward(word)
        except Exception:
            return dspy.Prediction(answer="none", why="none")


def converse(word: str) -> Any:
    query = (yield ask(word=word))["query"]
    return (yield tell(query=query))


def converse_patiently(word: str) -> Any:
    try:
        return (yield from converse(word))
    except Exception:
        return {"answer": "none", "why": "none"}


def theirs(*runs: Sequence[dict[str, str]], program: dspy.Module | None = None) -> list[Any]:
    """What comes back of runs whose calls are answered so; the metric is 1 whatever they say."""
    adapter = dspy.ChatAdapter(use_json_adapter_fallback=False)
    talk = program or Talk()
    talk.set_lm(DummyLM([reply for replies in runs for reply in replies]))
    with dspy.context(adapter=adapter):
        return bootstrap_trace_data(
            talk,
            [dspy.Example(word="w").with_inputs("word")] * len(runs),
            metric=lambda *_: 1.0,
            num_threads=1,
            raise_on_error=False,
            capture_failed_parses=True,
        )


def ours(replies: Sequence[dict[str, str]], run: Any = converse) -> Episode:
    examples = [Example("x", {"word": "w"}, {})]
    env = ProgramEnv(Program((ask, tell), run), examples, lambda *_: Score(1.0))
    env.reset(seed=0)
    info: dict[str, Any] = {}
    for reply in replies:
        text = "\n".join(f"{name.capitalize()}: {value}" for name, value in reply.items())
        info = env.step(text)[-1]
    return info["record"]


def test_both_score_what_they_can_read() -> None:
    [found] = theirs(READABLE)
    record = ours(READABLE)
    assert (found["score"], len(found["trace"])) == (1.0, 2)
    assert (record.reward, len(record.calls)) == (1.0, 2)


def test_mistake_3_a_run_with_a_partial_completion_vanishes() -> None:
    [found] = theirs(READABLE, PARTIAL)
    assert found["example_ind"] == 0
    record = ours(PARTIAL)
    assert (record.status, soft(record)) == ("parse_failure", -0.5)


def test_mistake_4_an_unreadable_call_is_given_the_inputs_of_the_program() -> None:
    [found] = theirs(UNREADABLE)
    predictor, inputs, output = found["trace"][-1]
    assert list(predictor.signature.input_fields) == ["query"]
    assert inputs == {"word": "w"}
    assert isinstance(output, FailedPrediction)
    assert ours(UNREADABLE).calls[-1].inputs == {"query": "q"}


@pytest.mark.parametrize("replies", [PARTIAL, UNREADABLE])
def test_mistake_7_a_program_that_catches_errors_hides_an_unreadable_completion(
    replies: list[dict[str, str]],
) -> None:
    [found] = theirs(replies, program=Patient())
    assert (found["score"], len(found["trace"])) == (1.0, 1)
    record = ours(replies, converse_patiently)
    assert (record.reward, len(record.calls)) == (-1.0, 2)
