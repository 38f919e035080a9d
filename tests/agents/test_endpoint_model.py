"""The endpoint model against a real server in a thread: concurrency, seeds, usage, faults."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from progym.agents.model import GenerationRequest, Sampling
from progym.agents.models.endpoint_lm import EndpointModel
from progym.agents.rollouts import requests_for, roll_out
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue, ServiceFault
from progym.envs.examples import Examples
from progym.envs.module import Field, Module
from progym.envs.program import Example, Program, Score
from progym.envs.prompts import PromptSet

WORD = Module("word", "Say the hint.", (Field("hint"),), (Field("word"),))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def served(answer, *, concurrency=16, retries=3):
    """Serve `answer(body) -> (status, text)` and give a model that asks there."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, text = answer(body)
            choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 7, "completion_tokens": 3}
            payload = json.dumps({"choices": [choice], "usage": usage}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format, *args):  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1#fake"
    model = EndpointModel(
        url, concurrency=concurrency, retries=retries, retry_seconds=0.0, timeout_seconds=5
    )
    try:
        yield model
    finally:
        model.close()
        server.shutdown()
        server.server_close()


def ask(text: str, seed: int) -> GenerationRequest:
    return GenerationRequest(({"role": "user", "content": text},), seed)


def test_answers_come_in_the_order_of_the_requests_with_prompt_and_usage():
    with served(lambda body: (200, body["messages"][0]["content"].upper())) as model:
        requests = [ask(f"text {i}", i) for i in range(40)]
        completions = model.generate(requests, Sampling())
    assert completions == [f"TEXT {i}" for i in range(40)]
    assert [c.prompt for c in completions] == [r.messages for r in requests]
    assert {c.usage for c in completions} == {(7, 3)}


def test_seed_and_sampling_are_sent():
    bodies = []
    with served(lambda body: (200, bodies.append(body) or "x")) as model:
        model.generate([ask("text", 2**40 + 5)], Sampling(0.3, 11))
    [body] = bodies
    assert (body["seed"], body["temperature"], body["max_tokens"]) == (5, 0.3, 11)


def test_as_many_requests_as_allowed_are_under_way_at_once():
    together = threading.Barrier(4, timeout=5)  # every answer waits for three others

    def answer(body):
        together.wait()
        return 200, "x"

    with served(answer, concurrency=4) as model:
        assert model.generate([ask("text", i) for i in range(8)], Sampling()) == ["x"] * 8


def test_a_request_that_fails_is_tried_again_and_only_that_one():
    seen = []

    def answer(body):
        seen.append(body["seed"])
        return (503 if body["seed"] == 1 and seen.count(1) < 3 else 200), "x"

    with served(answer) as model:
        assert model.generate([ask("text", i) for i in range(3)], Sampling()) == ["x"] * 3
    assert sorted(seen) == [0, 1, 1, 1, 2]


def test_a_server_that_stays_down_is_a_service_fault():
    with served(lambda body: (500, "x"), retries=1) as model, pytest.raises(ServiceFault):
        model.generate([ask("text", i) for i in range(3)], Sampling())


def test_a_refused_request_is_not_tried_again():
    seen = []
    with served(lambda body: (seen.append(1) or 400, "x")) as model, pytest.raises(BadValue):
        model.generate([ask("text", 0)], Sampling())
    assert len(seen) == 1


def run(hint):
    first = yield WORD(hint=hint)
    second = yield WORD(hint=hint)
    return {"words": [first["word"], second["word"]]}


def make_env():
    examples = Examples.of([Example(f"e{i}", {"hint": f"hint {i}"}, {}) for i in range(6)])
    return ProgramEnv(Program((WORD,), run), examples, lambda e, o: Score(1.0))


def test_rollouts_lose_only_the_episodes_whose_calls_failed():
    def answer(body):
        hint = body["messages"][-1]["content"].removeprefix("Hint: ")
        return (500 if hint == "hint 2" else 200), f"Word: {hint}"

    requests = requests_for([f"e{i}" for i in range(6)], repeats=2, seed=0)
    with served(answer, retries=0) as model:
        episodes = roll_out(make_env, model, PromptSet(), requests, sampling=Sampling())
    assert [e.status for e in episodes] == [
        "fault" if e.example_id == "e2" else "ok" for e in episodes
    ]
    assert episodes[0].calls[0].completion_tokens == 3
