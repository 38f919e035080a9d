"""What an episode is: calls, requests, and the ways it can end."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue
from progym.envs.module import StepType, ask
from progym.envs.program import Program, Score
from progym.envs.records import Completion
from progym.envs.rendering import Message
from progym.envs.run import Limits


def test_an_episode_goes_through_the_calls_and_ends_with_the_score(toy):
    env = toy.make()
    ends: tuple[Any, ...] = env.reset(seed=0)
    steps = []

    while "record" not in ends[-1]:
        steps.append(ends[-1]["step_type"])
        ends = env.step(toy.gold_reply(env))

    assert steps == [("look_up", 0), ("look_up", 1), ("answer", 0)]
    assert ends[:-1] == ("", 1.0, True, False)
    assert ends[-1]["record"].metrics == {"accuracy": 1.0, "notes": 2.0}


def test_a_step_type_reads_as_module_and_occurrence():
    assert str(StepType("answer", 1)) == "answer:1"


def test_the_observation_is_the_pending_call_as_text(toy):
    env = toy.make(render_mode="ansi")

    observation, info = env.reset(options={"example_id": "q3"})

    assert observation == info["call"].text == env.render()
    assert observation.endswith("Question: question 3\nNotes:")


def test_an_unreadable_completion_ends_with_the_failure_reward_and_its_own_prompt(toy):
    env = toy.make(failure_reward=-0.5)

    def replies(env):
        return "no idea" if env.pending_call.module.name == "answer" else toy.gold_reply(env)

    episode = toy.play(env, replies)
    failing = episode.calls[-1]

    assert (episode.status, episode.reward, episode.score) == ("parse_failure", -0.5, 0.0)
    assert failing.module == "answer"
    assert failing.completion == "no idea"
    assert failing.error == "no 'Reasoning:' line; no 'Verdict:' line"
    # The prompt is the failing module's, notes included, not the program's inputs.
    assert failing.prompt[-1]["content"].count("[") == 2
    assert failing.prompt[0]["content"].startswith("Answer the question.")


def test_fields_of_a_partial_reply_are_kept(toy):
    def replies(env):
        text = toy.gold_reply(env)
        return "Reasoning: so\nVerdict: perhaps" if "Verdict" in text else text

    assert toy.play(toy.make(), replies).calls[-1].fields == {"reasoning": "so"}


def test_a_spent_call_budget_truncates_with_score_0(toy):
    env = toy.make(limits=Limits(max_calls=2))
    env.reset(seed=0)
    env.step(toy.gold_reply(env))

    _, reward, terminated, truncated, info = env.step(toy.gold_reply(env))

    assert (reward, terminated, truncated) == (0.0, False, True)
    assert (info["record"].status, info["record"].score) == ("truncated", 0.0)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_calls": "three"},
        {"max_calls": 1.0},
        {"max_tokens": -1},
        {"service_retries": None},
        {"service_retries": -1},
        {"retry_seconds": float("inf")},
        {"retry_seconds": float("nan")},
    ],
    ids=str,
)
def test_a_limit_that_is_no_limit_is_named(limits):
    with pytest.raises(BadValue, match=rf"{next(iter(limits))} must be"):
        Limits(**limits)


def test_a_plain_list_of_examples_will_do(toy):
    env = toy.make()
    env = ProgramEnv(
        toy.program, list(env.examples), env.score, services=env.services, gold=env.gold
    )

    assert toy.play(env, options={"example_id": "q3"}).example_id == "q3"


def test_a_budget_that_is_just_enough_does_not_truncate(toy):
    assert toy.play(toy.make(limits=Limits(max_calls=3))).status == "ok"


def test_a_spent_token_budget_truncates_before_the_next_call(toy):
    def replies(env):
        return Completion(toy.gold_reply(env), usage=(7, 4))

    episode = toy.play(toy.make(limits=Limits(max_tokens=8)), replies)

    assert (episode.status, len(episode.calls)) == ("truncated", 2)
    assert [call.completion_tokens for call in episode.calls] == [4, 4]


def test_usage_is_counted_by_module(toy):
    env = toy.make()
    _, info = env.reset(seed=0)
    while "usage" not in info:
        completion = Completion(toy.gold_reply(env), token_ids=(1, 2), prompt_ids=(1, 2, 3))
        info = env.step(completion)[-1]

    assert info["usage"]["look_up"] == {"calls": 2, "prompt_tokens": 6, "completion_tokens": 4}
    assert info["usage"]["answer"]["calls"] == 1


def test_a_service_that_fails_is_asked_again(toy):
    library = toy.Library(fails=(1, 2))

    episode = toy.play(toy.make(services={"library": library}))

    assert (episode.status, library.asked) == ("ok", 4)


def test_a_service_that_keeps_failing_is_a_fault_and_no_score(toy):
    env = toy.make(services={"library": toy.Library(fails=range(9))})
    env.reset(seed=0)

    _, reward, terminated, truncated, info = env.step(toy.gold_reply(env))

    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["fault"] == "ServiceFault: the library is closed"
    assert (info["record"].status, info["record"].score) == ("fault", None)
    assert len(info["record"].calls) == 1


def test_a_service_that_raises_stop_iteration_is_a_fault_and_not_the_programs_end(toy):
    class Exhausted:
        deterministic = True

        def answer(self, query: str, k: int) -> list[str]:
            return [next(iter([]))]

    episode = toy.play(toy.make(services={"library": Exhausted()}))

    assert (episode.status, episode.fault) == ("fault", "StopIteration: ")


def test_only_a_fault_that_nobody_foresaw_is_logged_with_its_traceback(toy, caplog):
    toy.play(toy.make(services={"library": toy.Library(fails=range(9))}))
    toy.play(toy.make(score=lambda example, outcome: 1 / 0))

    ends = [record for record in caplog.records if "failed" in record.getMessage()]
    assert [bool(record.exc_info) for record in ends] == [False, True]


def bugs():
    def raises(question):
        yield from ()
        raise KeyError("a bug")

    def yields_text(question):
        yield "a text"

    def asks_nobody(question):
        yield ask("nobody")

    def takes_nothing():
        yield from ()

    def answers_with_an_object(question):
        yield ask("library", query=object(), k=1)

    return [raises, yields_text, asks_nobody, takes_nothing, answers_with_an_object]


@pytest.mark.parametrize("run", bugs(), ids=lambda run: run.__name__)
def test_a_bug_in_a_program_is_a_fault_that_reset_reports(toy, run):
    observation, info = toy.make(Program((toy.look_up,), run)).reset(seed=0)

    assert observation == ""
    assert info["record"].status == "fault"
    assert info["record"].calls == ()


def test_a_module_that_is_not_the_programs_is_a_fault(toy):
    def run(question) -> Any:
        yield toy.answer(question=question, notes=())

    _, info = toy.make(Program((toy.look_up,), run)).reset(seed=0)

    assert info["fault"] == "UnknownName: Unknown module 'answer'. Use one of: look_up."


def test_a_call_with_inputs_of_the_wrong_type_is_a_fault_of_the_program(toy):
    def run(question) -> Any:
        yield toy.look_up(question=3, notes=())

    _, info = toy.make(Program((toy.look_up,), run)).reset(seed=0)

    assert info["fault"].startswith("ProgramFault: Input 'question' of module 'look_up'")


def test_a_program_that_breaks_when_it_is_closed_does_not_break_the_step(toy):
    def run(question) -> Any:
        try:
            yield toy.look_up(question=question, notes=())
        finally:
            raise RuntimeError("clean-up failed")

    episode = toy.play(toy.make(Program((toy.look_up,), run)), lambda env: "garbage:")

    assert episode.status == "parse_failure"


def test_mistake_7_a_program_that_catches_everything_can_not_hide_an_unreadable_completion(toy):
    def run(question) -> Any:
        try:
            yield toy.look_up(question=question, notes=())
        except Exception:
            return {"verdict": "yes", "notes": []}

    episode = toy.play(toy.make(Program((toy.look_up,), run)), lambda env: "")

    assert (episode.status, episode.reward) == ("parse_failure", -1.0)


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), "1", None])
def test_a_score_outside_0_to_1_is_a_fault(toy, value):
    episode = toy.play(toy.make(score=lambda example, outcome: Score(value)))

    assert (episode.status, episode.score) == ("fault", None)


def test_a_metric_that_is_not_finite_is_a_fault(toy):
    episode = toy.play(toy.make(score=lambda example, outcome: Score(1.0, {"m": float("inf")})))

    assert episode.fault == "ProgramFault: Metric 'm' must be a finite number, got inf."


def test_a_reward_may_ask_a_judge_whose_answers_are_recorded(toy):
    def score(example, outcome):
        verdict = yield ask("library", query="is it right?", k=2)
        return Score(len(verdict) / 2)

    episode = toy.play(toy.make(score=score))

    assert episode.score == 1.0
    assert episode.asks[-1].answer == ["is it right?!", "is it right?!"]


def test_the_record_does_not_change_when_a_program_changes_an_answer(toy):
    def run(question) -> Any:
        found = yield ask("library", query=question, k=1)
        found.clear()
        yield toy.look_up(question=question, notes=found)
        return {"verdict": "yes", "notes": found}

    episode = toy.play(toy.make(Program((toy.look_up,), run)), lambda env: "Query: q")

    assert episode.asks[0].answer == [f"{episode.calls[0].inputs['question']}!"]


def test_recorded_answers_stand_in_for_endpoints_only(toy):
    recorded = toy.play(toy.make())
    endpoint, index = toy.Library(deterministic=False), toy.Library()
    options = {"example_id": recorded.example_id, "answers": recorded.asks}

    toy.play(toy.make(services={"library": endpoint}), options=options)
    toy.play(toy.make(services={"library": index}), options=options)

    assert (endpoint.asked, index.asked) == (0, 2)


def test_a_request_that_is_not_in_the_record_is_a_fault(toy):
    recorded = toy.play(toy.make())
    env = toy.make(services={"library": toy.Library(deterministic=False)})

    options = {"example_id": recorded.example_id, "answers": recorded.asks}
    episode = toy.play(env, lambda env: "Query: something else", options=options)

    assert "not in the record" in str(episode.fault)


def test_a_completion_that_knows_its_tokens_is_recorded_with_them(toy):
    prompt = (Message(role="user", content="as the agent saw it"),)

    def replies(env):
        fields = dict(env.gold_fields())
        return Completion("x", token_ids=(5,), logprobs=(-0.5,), prompt=prompt, fields=fields)

    call = toy.play(toy.make(), replies).calls[0]

    assert (call.token_ids, call.logprobs, call.prompt) == ((5,), (-0.5,), prompt)
    assert (call.completion, call.error, call.completion_tokens) == ("x", None, 1)


def test_a_completion_keeps_its_tokens_through_a_pickle():
    completion = Completion("x", token_ids=(5,), logprobs=(-0.5,), finish="length")

    again = pickle.loads(pickle.dumps(completion))

    assert (again, vars(again)) == (completion, vars(completion))
