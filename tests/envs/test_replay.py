"""An episode replays from its record, or the first thing that differs is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from progym.envs.errors import BadValue, UnknownName
from progym.envs.module import ask
from progym.envs.program import Program, Score
from progym.envs.prompts import Demo, ModulePrompt, PromptSet
from progym.envs.recording import read_episode
from progym.envs.records import Completion
from progym.envs.rendering import render
from progym.envs.replay import replay
from progym.envs.run import Limits
from progym.envs.strict_json import dump_line

PROMPTS = PromptSet(
    {
        "answer": ModulePrompt(
            "Be brief.", (Demo({"question": "q", "notes": ()}, {"verdict": "no"}),)
        )
    }
)


def from_disk(episode):
    return read_episode(dump_line(episode.to_json()), "line")


def edit(episode, number, **changes):
    calls = list(episode.calls)
    calls[number] = replace(calls[number], **changes)
    return replace(episode, calls=tuple(calls))


def test_a_scored_episode_replays_from_disk(toy):
    assert replay(from_disk(toy.play(toy.make())), toy.make()).matches


def test_an_unreadable_episode_replays(toy):
    episode = toy.play(toy.make(), lambda env: "\ud800 garbage")

    assert replay(from_disk(episode), toy.make()).matches


def test_a_truncated_episode_replays_under_its_budget_and_drifts_under_another(toy):
    def replies(env):
        return Completion(toy.gold_reply(env), usage=(1, 5))

    episode = toy.play(toy.make(limits=Limits(max_tokens=9)), replies)

    assert episode.status == "truncated"
    assert replay(episode, toy.make(limits=Limits(max_tokens=9))).matches
    assert replay(episode, toy.make()).drift == (
        "the record ends, but the run goes on to call answer:0"
    )


def test_an_episode_of_an_endpoint_replays_without_asking_it(toy):
    episode = toy.play(toy.make(services={"library": toy.Library(deterministic=False)}))
    closed = toy.Library(deterministic=False, fails=range(99))

    assert replay(from_disk(episode), toy.make(services={"library": closed})).matches
    assert closed.asked == 0


def test_a_judged_episode_with_several_items_replays_from_disk(toy):
    def score(example, outcome):
        verdict = yield ask("library", query=("one", "two"), k=1)
        return Score(float(len(verdict) == 1))

    services = {"library": toy.Library(deterministic=False)}
    episode = toy.play(toy.make(score=score, services=services))

    assert replay(from_disk(episode), toy.make(score=score, services=services)).matches


def test_a_fault_replays_up_to_the_fault(toy):
    # The second request fails, and its two further tries.
    episode = toy.play(toy.make(services={"library": toy.Library(fails=range(2, 99))}))

    assert (episode.status, len(episode.calls), len(episode.asks)) == ("fault", 2, 1)
    assert replay(from_disk(episode), toy.make()).matches
    assert not replay(edit(episode, 1, completion="Query: other"), toy.make()).matches


def test_an_episode_whose_prompt_outgrew_the_model_replays_up_to_there(toy):
    whole = toy.play(toy.make())
    cut = replace(whole, calls=whole.calls[:1], asks=whole.asks[:1], metrics={})
    cut = replace(cut, status="truncated", reward=0.0, score=0.0, fault="900 tokens of 512")

    assert replay(from_disk(cut), toy.make()).matches
    assert not replay(replace(cut, score=1.0), toy.make()).matches
    assert not replay(replace(cut, calls=whole.calls), toy.make()).matches


def test_a_fault_with_a_score_does_not_match(toy):
    episode = toy.play(toy.make(services={"library": toy.Library(fails=range(99))}))

    assert replay(replace(episode, score=1.0), toy.make()).drift is not None


def test_with_the_prompt_set_the_whole_prompt_must_match(toy):
    def replies(env):
        return Completion(toy.gold_reply(env), prompt=render(env.pending_call, PROMPTS))

    episode = toy.play(toy.make(), replies)

    assert replay(episode, toy.make(), prompts=PROMPTS).matches
    assert replay(episode, toy.make()).matches
    report = replay(episode, toy.make(), prompts=PromptSet())
    assert (report.step, report.drift) == (2, "the prompt has 4 messages in the record, 2 now")


CHANGES = {
    "a completion": (lambda e: edit(e, 0, completion="Query: other"), 0, "fields, 'query',"),
    "a completion and its fields": (
        lambda e: edit(e, 0, completion="Query: other", fields={"query": "other"}),
        1,
        "request 0 to a service",
    ),
    "a field": (lambda e: edit(e, 1, fields={"query": "x"}), 1, "fields, 'query',"),
    "an input": (lambda e: edit(e, 2, inputs={"question": "x", "notes": ()}), 2, "inputs"),
    "a prompt": (
        lambda e: edit(e, 2, prompt=({"role": "user", "content": "easier"},)),
        2,
        "last message of the prompt",
    ),
    "no prompt": (lambda e: edit(e, 2, prompt=()), 2, "last message of the prompt"),
    "an error": (lambda e: edit(e, 1, error="unreadable"), 1, "error"),
    "a module": (lambda e: edit(e, 1, module="answer"), 1, "call"),
    "an occurrence": (lambda e: edit(e, 1, occurrence=0), 1, "call"),
    "a call less": (lambda e: replace(e, calls=e.calls[:2]), None, "the run goes on to call"),
    "a call more": (lambda e: replace(e, calls=(*e.calls, e.calls[0])), 3, "another call"),
    "an answer": (
        lambda e: replace(e, asks=(e.asks[0], replace(e.asks[1], answer=["x"]))),
        2,
        "request 1 to a service",
    ),
    "a request less": (lambda e: replace(e, asks=e.asks[:1]), None, "number of requests"),
    "a request more": (lambda e: replace(e, asks=(*e.asks, e.asks[0])), None, "number of requests"),
    "the status": (lambda e: replace(e, status="truncated"), None, "status"),
    "the reward": (lambda e: replace(e, reward=0.9), None, "reward"),
    "the score": (lambda e: replace(e, score=None), None, "score"),
    "a metric": (lambda e: replace(e, metrics={"accuracy": 1.0}), None, "metrics"),
    "the fingerprint": (lambda e: replace(e, fingerprint="x"), None, "fingerprint"),
    "the split": (lambda e: replace(e, split="test"), None, "split"),
    "the example": (lambda e: replace(e, example_id="q99"), None, "Unknown example 'q99'"),
    "another example": (lambda e: replace(e, example_id="q0"), 0, "inputs"),
}


@pytest.mark.parametrize(("change", "step", "what"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_in_the_record_is_found_where_it_is(toy, change, step, what):
    episode = toy.play(toy.make(), options={"example_id": "q1"})

    report = replay(change(episode), toy.make())

    assert not report.matches
    assert what in str(report.drift)
    assert report.step == step


def test_of_a_text_and_a_longer_one_the_end_that_differs_is_shown(toy):
    def replies(env):
        text = toy.gold_reply(env)
        return "Query: " + "x" * 99 if text.startswith("Query") else text

    episode = edit(toy.play(toy.make(), replies), 0, fields={"query": "x" * 99 + " and more"})

    drift = replay(episode, toy.make()).drift

    assert drift == (
        f"fields, 'query', differs: {'x' * 20 + ' and more'!r} in the record, {'x' * 20!r} now"
    )


def test_a_program_that_changed_is_a_drift(toy):
    def run(question) -> Any:
        reply = yield toy.answer(question=question, notes=())
        return {"verdict": reply["verdict"], "notes": []}

    report = replay(toy.play(toy.make()), toy.make(Program((toy.answer,), run)))

    assert (report.step, report.drift) == (
        0,
        "call differs: 'look_up:0' in the record, 'answer:0' now",
    )


def test_a_service_that_fails_now_is_named(toy):
    env = toy.make(services={"library": toy.Library(fails=range(99))})

    report = replay(toy.play(toy.make()), env)

    assert report.step == 1
    assert "the library is closed" in str(report.drift)


def test_an_episode_that_names_no_environment_wants_one(toy):
    episode = toy.play(toy.make())

    with pytest.raises(BadValue, match="Pass the environment"):
        replay(episode)
    with pytest.raises(BadValue, match="names no registered environment"):
        replay(replace(episode, env_id="some_module:Id-v0"))
    with pytest.raises(UnknownName, match="Did you mean 'Banking77-v0'"):
        replay(replace(episode, env_id="Banking7-v0"))
    with pytest.raises(BadValue, match=r"Banking77-v0 can't be made .*'labels'"):
        replay(replace(episode, env_id="Banking77-v0", env_kwargs={"labels": True}))
    with pytest.raises(BadValue, match="an object for 'judge'"):
        replay(replace(episode, env_id="Banking77-v0", env_kwargs={"judge": {"object": "m.Judge"}}))
