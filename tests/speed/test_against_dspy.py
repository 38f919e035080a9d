"""HoVer4Hop-v0 against the same program in dspy with its DummyLM: same outcomes, then speed.

Both render every call and read every completion. They share the claims, the scripted replies and
the retriever with its memory, and take turns within one process, in CPU seconds. Both keep a
record: ours the episode, dspy its history, which is on by default.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dspy
import pytest
from dspy.utils.dummies import DummyLM
from pytest_benchmark.fixture import BenchmarkFixture

from progym.envs.env import ProgramEnv
from progym.envs.module import Module
from progym.envs.rendering import render_reply
from progym.envs.tasks.hover import EMBEDDED_DOCS, append_notes, generate_query, make_env, score

HOPS, DOCS = 4, EMBEDDED_DOCS
CLAIMS, ROUNDS = 20, 15
OUR_TURNS = 20  # plays of all claims for each of dspy's, so that both turns take about as long
RATIO_WANTED = 20


@dataclass(frozen=True)
class Outcome:
    """What an episode did and earned."""

    queries: list[str]
    titles: list[list[str]]
    recall: float


@dataclass(frozen=True)
class Script:
    """The replies to one claim's calls, as fields and as text."""

    example_id: str
    fields: list[dict[str, str]]
    texts: list[str]


def signature_of(module: Module, *, several: set[str]) -> type[dspy.Signature]:
    """The dspy signature with a module's fields and instruction."""
    fields: dict[str, Any] = {}
    for field in module.inputs:
        fields[field.name] = (list[str] if field.name in several else str, dspy.InputField())
    for field in module.outputs:
        fields[field.name] = (str, dspy.OutputField(desc=field.description))
    return dspy.make_signature(fields, module.instruction)


class DspyHover(dspy.Module):
    """The program of HoVer4Hop-v0, written as dspy programs are."""

    def __init__(self, retriever: Any, corpus: Any) -> None:
        super().__init__()
        self.retriever, self.corpus = retriever, corpus
        lists = {"key_facts", "new_search_results"}
        self.generate_query = dspy.Predict(signature_of(generate_query, several=lists))
        self.append_notes = dspy.Predict(signature_of(append_notes, several=lists))

    def forward(self, claim: str) -> dspy.Prediction:
        query, key_facts, queries, titles = claim, [], [], []
        for hop in range(HOPS):
            if hop > 0:
                reply = self.generate_query(claim=claim, key_facts=key_facts)
                query = reply.followup_search_query
            queries.append(query)
            titles.append(self.retriever.answer(query=query, k=DOCS))
            if hop < HOPS - 1:
                results = list(self.corpus.show(titles[-1]))
                reply = self.append_notes(
                    claim=claim, key_facts=key_facts, new_search_results=results
                )
                lines = reply.new_key_facts.splitlines()
                key_facts = key_facts + [line.strip() for line in lines if line.strip()]
        return dspy.Prediction(queries=queries, titles=titles)


class Ours:
    """Our side: text completions stepped through the environment."""

    def __init__(self, env: ProgramEnv, scripts: list[Script]) -> None:
        self.env, self.scripts = env, scripts

    def outcomes(self) -> Iterator[Outcome]:
        for script in self.scripts:
            record = self.play(script)["record"]
            queries = [ask.request["query"] for ask in record.asks]
            yield Outcome(queries, [ask.answer for ask in record.asks], record.score)

    def play(self, script: Script) -> dict[str, Any]:
        self.env.reset(options={"example_id": script.example_id})
        info: dict[str, Any] = {}
        for text in script.texts:
            info = self.env.step(text)[-1]
        return info

    def turn(self) -> int:
        for script in self.scripts:
            self.play(script)
        return sum(len(script.texts) for script in self.scripts)


class Theirs:
    """dspy's side: the same replies through its DummyLM, its settings as they come."""

    def __init__(self, env: ProgramEnv, scripts: list[Script]) -> None:
        retriever: Any = env.services["retriever"]
        self.program = DspyHover(retriever, retriever.corpus)
        self.examples = [env.examples.by_id(script.example_id) for script in scripts]
        self.replies = [fields for script in scripts for fields in script.fields]

    def outcomes(self) -> Iterator[Outcome]:
        with dspy.context(lm=DummyLM(self.replies)):
            for example in self.examples:
                made = self.program(**example.inputs)
                found = list(itertools.chain.from_iterable(made.titles))
                yield Outcome(made.queries, made.titles, score(example, {"titles": found}).value)

    def turn(self) -> int:
        for _ in self.outcomes():
            pass
        return len(self.replies)


@pytest.fixture(scope="module")
def sides() -> tuple[Ours, Theirs]:
    env = make_env(split="test")
    scripts = [write_script(env, example_id) for example_id in env.examples.ids[:CLAIMS]]
    return Ours(env, scripts), Theirs(env, scripts)


def write_script(env: ProgramEnv, example_id: str) -> Script:
    """What the gold policy replies to a claim's calls."""
    _, info = env.reset(options={"example_id": example_id})
    script = Script(example_id, [], [])
    while "record" not in info:
        fields = dict(env.gold_fields())
        script.fields.append(fields)
        script.texts.append(render_reply(info["call"].module, fields))
        info = env.step(script.texts[-1])[-1]
    return script


def test_both_programs_ask_find_and_earn_the_same(sides: tuple[Ours, Theirs]) -> None:
    ours, theirs = (list(side.outcomes()) for side in sides)

    assert ours == theirs
    assert [len(outcome.queries) for outcome in ours] == [HOPS] * CLAIMS


def test_calls_per_second_against_dspy(
    sides: tuple[Ours, Theirs],
    benchmark: BenchmarkFixture,
    rate: Callable[[Callable[[], int]], float],
    say: Callable[[str], None],
) -> None:
    ours, theirs = sides
    assert list(ours.outcomes()) == list(theirs.outcomes())
    rates: list[tuple[float, float]] = []

    def take_turns() -> None:
        mine = rate(lambda: sum(ours.turn() for _ in range(OUR_TURNS)))
        rates.append((mine, rate(theirs.turn)))

    benchmark.pedantic(take_turns, rounds=ROUNDS, warmup_rounds=2)

    ratio = statistics.median(mine / other for mine, other in rates)
    mine, other = (statistics.median(side) for side in zip(*rates, strict=True))
    benchmark.extra_info.update(ratio=round(ratio, 1), calls=round(mine), dspy_calls=round(other))
    say(f"HoVer4Hop-v0: {mine:,.0f} module calls a CPU-second, rendering and parsing included")
    say(f"the same program in dspy {dspy.__version__} with DummyLM: {other:,.0f}")
    say(f"ratio: {ratio:.1f} (wanted: {RATIO_WANTED})")
    assert ratio >= RATIO_WANTED
