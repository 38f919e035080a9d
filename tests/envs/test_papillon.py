"""PAPILLON: exact scores of known strategies, real data through endpoints, faults and replay."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gymnasium.error import ResetNeeded

from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue, Misconfigured, UnknownName
from progym.envs.records import Completion, Episode
from progym.envs.rendering import Call, render_reply
from progym.envs.run import Limits
from progym.envs.tasks.papillon import make_env
from progym.envs.worlds.seeding import SPLITS

Strategy = Callable[[ProgramEnv, Call], Mapping[str, str]]


def gold(env: ProgramEnv, call: Call) -> Mapping[str, str]:
    return env.gold_fields()


def play(env: ProgramEnv, strategy: Strategy, **options: Any) -> Episode:
    _, info = env.reset(seed=0, options=options)
    ended = "record" in info
    while not ended:
        call = info["call"]
        reply = render_reply(call.module, strategy(env, call))
        _, _, terminated, truncated, info = env.step(Completion(reply, usage=(10, 5)))
        ended = terminated or truncated
    return info["record"]


def scripted(request: str, response: str) -> Strategy:
    fields = {"reasoning": "so", "llm_request": request, "response": response}
    return lambda env, call: {field.name: fields[field.name] for field in call.module.outputs}


def echo(env: ProgramEnv, call: Call) -> Mapping[str, str]:
    """Send the whole query, then hand on the assistant's answer as it is."""
    if call.module.name == "craft_request":
        return {"reasoning": "so", "llm_request": str(call.inputs["user_query"])}
    return {"response": str(call.inputs["related_llm_response"])}


@pytest.mark.parametrize("split", SPLITS)
def test_the_gold_policy_earns_one(split: str) -> None:
    env = make_env(split=split, world_seed=5, size=40)
    for example_id in env.examples.ids:
        episode = play(env, gold, example_id=example_id)
        assert (episode.status, episode.score) == ("ok", 1.0)
        assert episode.metrics == {"quality": 1.0, "leakage": 0.0}


def test_echoing_the_query_leaks_all_and_leaves_the_slot_open() -> None:
    env = make_env(split="test", size=20)
    for example_id in env.examples.ids:
        episode = play(env, echo, example_id=example_id)
        assert episode.metrics == {"quality": 3 / 4, "leakage": 1.0}
        assert episode.score == 3 / 8


def test_a_vague_request_earns_privacy_only() -> None:
    episode = play(make_env(), scripted("Please help me.", "Good luck."))
    assert episode.metrics == {"quality": 0.0, "leakage": 0.0}
    assert episode.score == 1 / 2


def test_the_users_name_alone_is_a_quarter_of_quality() -> None:
    env = make_env(size=1)
    name = env.examples[0].gold["name"]
    episode = play(env, scripted("Please help me.", f"Yours, {name}."))
    assert episode.metrics == {"quality": 1 / 4, "leakage": 0.0}
    assert episode.score == 5 / 8


@pytest.mark.parametrize("count", [0, 1, 2])
def test_each_leaked_unit_counts_its_share(count: int) -> None:
    env = make_env(split="val", size=1)
    example = env.examples[0]
    units = example.gold["pii_units"]
    request = " and ".join(["A letter on a wedding", *(unit.upper() for unit in units[:count])])
    episode = play(env, scripted(request, example.gold["target_response"]))
    assert episode.metrics == {"quality": 1.0, "leakage": count / len(units)}
    assert episode.score == (2 - count / len(units)) / 2


def test_an_empty_response_is_unreadable_as_text_and_worthless_as_fields() -> None:
    env = make_env(size=1)
    as_text = play(env, scripted("A letter on a wedding.", ""))
    assert (as_text.status, as_text.reward, as_text.score) == ("parse_failure", -1.0, 0.0)
    env.reset(seed=0)
    env.step(Completion("", fields={"reasoning": "", "llm_request": ""}))
    *_, info = env.step(Completion("", fields={"response": ""}))
    assert info["record"].metrics == {"quality": 0.0, "leakage": 0.0}


@pytest.mark.parametrize("garbage", ["", "\x00", "Llm request:", "Reasoning: x", "漢字🙂" * 50])
def test_garbage_earns_the_failure_reward(garbage: str) -> None:
    env = make_env(failure_reward=-0.25, size=3)
    env.reset(seed=1)
    _, reward, terminated, truncated, info = env.step(garbage)
    assert (reward, terminated, truncated) == (-0.25, True, False)
    assert (info["record"].status, info["record"].score) == ("parse_failure", 0.0)


@pytest.mark.parametrize("budget", [{"max_calls": 1}, {"max_tokens": 5}])
def test_a_spent_budget_truncates(budget: dict[str, Any]) -> None:
    episode = play(make_env(**budget, size=3), gold)
    assert (episode.status, episode.score, len(episode.calls)) == ("truncated", 0.0, 1)


def test_the_second_call_sees_request_answer_and_query() -> None:
    env = make_env(size=1)
    env.reset(seed=0)
    env.step("Reasoning: so\nLlm request: a poem about a chess match")
    inputs = env.pending_call.inputs
    assert inputs["related_llm_request"] == "a poem about a chess match"
    assert "a poem about a chess match. " in inputs["related_llm_response"]
    assert inputs["user_query"] == env.examples[0].inputs["user_query"]


def test_a_pickled_environment_plays_the_same_episode() -> None:
    env = make_env(size=3)
    twin = pickle.loads(pickle.dumps(env))
    assert play(env, gold).digest == play(twin, gold).digest


def test_an_unknown_split_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"'trian'.*Did you mean 'train'"):
        make_env(split="trian")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "hub"}, r"needs an endpoint for untrusted and judge.*judge='http"),
        ({"data": "hub", "untrusted": "http://h/v1#m"}, r"needs an endpoint for judge"),
        ({"untrusted": "http://h/v1#m"}, r"untrusted can't go with data='embedded'"),
        ({"judge": "http://h/v1#m"}, r"judge can't go with data='embedded'"),
        ({"data": "hub", "untrusted": "h#m", "judge": "http://h/v1#m"}, r"'h#m'.*http://"),
        (
            {"data": "x", "untrusted": "http://h/v1#m", "judge": "http://h/v1#m", "size": 3},
            r"size and world_seed belong to the embedded world",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadValue, match=message):
        make_env(**options)


# --- units and verdicts -------------------------------------------------------------------------


@contextmanager
def served(verdict: str, status: int = 200, answers: bool = True) -> Iterator[str]:
    """A server that answers requests in capitals, or not, and comparisons with a fixed verdict."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = body["messages"][-1]["content"]
            text = verdict if "Response A:" in said else said.upper() * answers
            message = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
            payload = json.dumps(message).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1#fake"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # the server is here, whatever proxy is set
    row = {
        "id": "row-1",
        "inputs": {"user_query": "I am Ann of 42 Elm Street. Write me a note for my landlord."},
        "gold": {
            "pii_units": ["Ann", "42 Elm Street"],
            "target_response": "Dear landlord, the tap drips. Ann",
            "redacted_query": "Write me a note for my landlord.",
        },
    }
    description = {"format": 1, "task": "papillon"}
    (tmp_path / "dataset.json").write_text(json.dumps(description), "utf-8")
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    return tmp_path


def make_real(folder: Path, url: str) -> ProgramEnv:
    env = make_env(data=str(folder), split="test", untrusted=url, judge=url)
    env.limits = Limits(retry_seconds=0.0)
    return env


def test_real_rows_are_scored_by_units_and_by_a_judge_in_both_orders(folder: Path) -> None:
    with served("no") as url:
        episode = play(make_real(folder, url), scripted("I am Ann. A note, please.", "Dear you"))
    assert [entry.service for entry in episode.asks] == ["untrusted", "judge", "judge"]
    assert episode.asks[0].answer == "I AM ANN. A NOTE, PLEASE."
    assert [entry.request["response_b"] for entry in episode.asks[1:]] == [
        "Dear landlord, the tap drips. Ann",
        "Dear you",
    ]
    # "no" in both orders contradicts itself and counts for the response; one of two units leaked.
    assert episode.metrics == {
        "quality": 1.0,
        "leakage": 0.5,
        "contradictory_verdicts": 1.0,
        "unreadable_verdicts": 0.0,
    }
    assert episode.score == 0.75


@pytest.mark.parametrize(
    "values",
    [
        {"untrusted_tokens": 0},
        {"untrusted_tokens": 1.5},
        {"service_timeout": 0.0},
        {"service_timeout": float("inf")},
    ],
)
def test_limits_of_endpoints_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(BadValue, match=next(iter(values))):
        make_env(**values)


def test_the_untrusted_model_is_asked_for_no_more_tokens_than_wanted(folder: Path) -> None:
    url = "http://localhost:1/v1#m"
    env = make_env(
        data=folder, split="test", untrusted=url, judge=url, untrusted_tokens=64, service_timeout=9
    )
    untrusted: Any = env.services["untrusted"]
    assert (untrusted.max_tokens, untrusted.endpoint.timeout_seconds) == (64, 9)


def test_the_gold_policy_of_real_data_keeps_the_units_back(folder: Path) -> None:
    with served("yes") as url:
        assert play(make_real(folder, url), gold).score == 1.0


def test_a_recorded_episode_replays_with_the_server_gone(folder: Path) -> None:
    with served("yes") as url:
        first = play(make_real(folder, url), scripted("A note, please.", "Dear you"))
    kept = Episode.from_json(json.loads(json.dumps(first.to_json())))
    again = play(
        make_real(folder, url),
        scripted("A note, please.", "Dear you"),
        example_id=kept.example_id,
        answers=kept.asks,
    )
    assert (again.status, again.score, again.digest) == ("ok", 1.0, first.digest)


def test_another_completion_does_not_replay(folder: Path) -> None:
    with served("yes") as url:
        first = play(make_real(folder, url), scripted("A note, please.", "Dear you"))
    again = play(make_real(folder, url), scripted("Another.", "Dear you"), answers=first.asks)
    assert (again.status, again.score) == ("fault", None)
    assert "drifted" in str(again.fault)


def test_a_server_that_is_down_is_a_fault_and_no_score(folder: Path) -> None:
    with served("yes") as url:
        pass
    episode = play(make_real(folder, url), scripted("A note, please.", "Dear you"))
    assert (episode.status, episode.score, episode.reward) == ("fault", None, 0.0)
    assert url in str(episode.fault)
    assert len(episode.calls) == 1


def test_an_assistant_that_says_nothing_is_a_fault_and_no_score(folder: Path) -> None:
    with served("yes", answers=False) as url:
        episode = play(make_real(folder, url), scripted("A note, please.", "Dear you"))
    assert (episode.status, episode.score, len(episode.calls)) == ("fault", None, 1)
    assert "answered with an empty text" in str(episode.fault)


def test_a_wrong_key_ends_the_run_and_leaves_no_episode_to_go_on_with(folder: Path) -> None:
    with served("yes", status=401) as url:
        env = make_real(folder, url)
        env.reset(seed=0)
        reply = "Reasoning: so\nLlm request: A note, please."
        with pytest.raises(Misconfigured, match="PROGYM_API_KEY"):
            env.step(reply)
        with pytest.raises(ResetNeeded):
            env.pending_call  # noqa: B018


def test_the_tries_of_a_request_are_counted_as_told(folder: Path) -> None:
    url = "http://127.0.0.1:1/v1#fake"
    env = make_env(data=folder, split="test", untrusted=url, judge=url, service_retries=0)
    assert env.limits == Limits(service_retries=0)


def test_a_request_that_the_server_refuses_ends_its_own_episode_only(folder: Path) -> None:
    with served("yes", status=400) as url:
        episode = play(make_real(folder, url), scripted("A note, please.", "Dear you"))
    assert (episode.status, episode.score) == ("fault", None)


def test_an_undecided_judge_faults_with_its_words_on_record(folder: Path) -> None:
    with served("hard to say") as url:
        episode = play(make_real(folder, url), scripted("A note, please.", "Dear you"))
    assert (episode.status, episode.score) == ("fault", None)
    assert [entry.answer for entry in episode.asks[1:]] == ["hard to say"] * 3
    assert [entry.request["attempt"] for entry in episode.asks[1:]] == [0, 1, 2]


def test_calls_know_what_the_request_has_given_away() -> None:
    env = make_env(size=5)
    for example_id in env.examples.ids:
        _, info = env.reset(options={"example_id": example_id})
        assert info["progress"] == 0.5
        query = env.examples.by_id(example_id).inputs["user_query"]
        _, _, _, _, info = env.step(f"Reasoning: none\nLlm request: {query}")
        assert info["progress"] == 0.0
