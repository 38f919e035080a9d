"""The chat client against a real server in a thread: what it sends, reads and complains about."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from progym.envs import endpoint as endpoint_module
from progym.envs.endpoint import ChatEndpoint, EndpointSpec, parse_endpoint
from progym.envs.errors import BadValue, Misconfigured, MissingExtra, ServiceFault
from progym.envs.rendering import Message

HELLO = [Message(role="user", content="hello")]
Answer = Callable[[dict[str, Any], dict[str, str]], tuple[int, object]]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("PROGYM_API_KEY", raising=False)


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, values = answer(body, {"path": self.path, **dict(self.headers)})
            payload = values if isinstance(values, bytes) else json.dumps(values).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1#fake"
    finally:
        server.shutdown()
        server.server_close()


def completion(text: object, finish: str = "stop") -> dict[str, Any]:
    return {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }


def ask(url: str, **changes: Any) -> Any:
    endpoint = ChatEndpoint(url, timeout_seconds=60)
    try:
        wanted: dict[str, Any] = {"temperature": 0.5, "max_tokens": 9, **changes}
        return endpoint.chat(HELLO, **wanted)
    finally:
        endpoint.close()


def test_a_reply_carries_text_counts_and_finish() -> None:
    with served(lambda body, headers: (200, completion("hi there", "length"))) as url:
        reply = ask(url)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("hi there", 7, 3)
    assert reply.finish == "length"


def test_the_request_is_what_the_protocol_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGYM_API_KEY", "secret")
    seen: list[Any] = []

    def answer(body: dict[str, Any], headers: dict[str, str]) -> tuple[int, object]:
        seen.append((body, headers["path"], headers["Authorization"]))
        return 200, completion("ok")

    with served(answer) as url:
        ask(url, seed=2**40 + 5)
    (body, path, key) = seen[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert body == {
        "model": "fake", "messages": HELLO, "temperature": 0.5, "max_tokens": 9, "seed": 5
    }  # fmt: skip


def test_a_key_is_sent_without_the_white_space_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROGYM_API_KEY", " secret\r\n")
    seen: list[str] = []

    def answer(body: dict[str, Any], headers: dict[str, str]) -> tuple[int, object]:
        seen.append(headers["Authorization"])
        return 200, completion("ok")

    with served(answer) as url:
        ask(url)
    assert seen == ["Bearer secret"]


@pytest.mark.parametrize("key", ["sec\rret", "secrét"])
def test_a_key_that_no_header_holds_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("PROGYM_API_KEY", key)
    with pytest.raises(Misconfigured, match=r"PROGYM_API_KEY .*copy it again") as caught:
        ask("http://127.0.0.1:1/v1#fake")
    assert "sec" not in str(caught.value)


def test_seed_zero_is_sent_and_no_seed_is_not() -> None:
    bodies: list[dict[str, Any]] = []
    with served(lambda body, headers: (bodies.append(body), (200, completion("ok")))[1]) as url:
        ask(url, seed=0)
        ask(url)
    assert bodies[0]["seed"] == 0
    assert "seed" not in bodies[1]


def test_text_that_utf8_cannot_hold_is_sent() -> None:
    def echo(body: dict[str, Any], headers: dict[str, str]) -> tuple[int, object]:
        return 200, completion(body["messages"][0]["content"])

    with served(echo) as url:
        endpoint = ChatEndpoint(url)
        text = "half a pair \ud83d, and a whole one 🙂"
        messages = [Message(role="user", content=text)]
        assert endpoint.chat(messages, temperature=0, max_tokens=1).text == text
        endpoint.close()


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_or_failing_server_is_a_fault(status: int) -> None:
    with (
        served(lambda body, headers: (status, {"error": "out of order"})) as url,
        pytest.raises(ServiceFault, match=rf"127.0.0.1.*{status}.*out of order"),
    ):
        ask(url)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BadValue), (422, BadValue), *((s, Misconfigured) for s in (401, 403, 404))],
)
def test_a_refusal_is_the_callers_mistake_in_the_servers_words(
    status: int, error: type[Exception]
) -> None:
    with (
        served(lambda body, headers: (status, {"error": "no such model"})) as url,
        pytest.raises(error, match=rf"{status}.*no such model"),
    ):
        ask(url)


def test_a_model_that_spent_its_tokens_before_it_answered_wrote_an_empty_text() -> None:
    with served(lambda body, headers: (200, completion(None, "length"))) as url:
        reply = ask(url)
    assert (reply.text, reply.finish) == ("", "length")


def test_without_httpx_an_endpoint_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"progym\[serve\]"):
        ChatEndpoint("http://host/v1#m")


@pytest.mark.parametrize(
    "answer", [b"<html>", b"\xff\xfe", [], {"choices": []}, {"choices": [3]}, completion(None)]
)
def test_an_answer_that_is_no_completion_is_a_fault(answer: object) -> None:
    with (
        served(lambda body, headers: (200, answer)) as url,
        pytest.raises(ServiceFault, match="no chat completion"),
    ):
        ask(url)


def test_a_server_that_is_gone_is_a_fault_that_says_what_to_do() -> None:
    with served(lambda body, headers: (200, completion("ok"))) as url:
        pass
    with pytest.raises(ServiceFault, match=r"can't be reached.*server runs"):
        ask(url)


def test_a_slow_server_is_a_fault() -> None:
    release = threading.Event()
    with served(lambda body, headers: (release.wait(60), (200, completion("late")))[1]) as url:
        with pytest.raises(ServiceFault, match=r"no answer within 0.05 s"):
            ChatEndpoint(url, timeout_seconds=0.05).chat(HELLO, temperature=0, max_tokens=1)
        release.set()


def test_many_calls_run_at_once() -> None:
    # The server answers nobody until all eight requests are there.
    together = threading.Barrier(8, timeout=60)

    def answer(body: dict[str, Any], headers: dict[str, str]) -> tuple[int, object]:
        together.wait()
        return 200, completion(f"seed {body['seed']}")

    with served(answer) as url, ThreadPoolExecutor(8) as pool:
        endpoint = ChatEndpoint(url, timeout_seconds=60)
        chat = endpoint.chat
        replies = pool.map(lambda i: chat(HELLO, temperature=1, max_tokens=4, seed=i), range(8))
        assert [reply.text for reply in replies] == [f"seed {i}" for i in range(8)]
        endpoint.close()


def test_an_endpoint_pickles_and_reopens_after_close() -> None:
    with served(lambda body, headers: (200, completion("again"))) as url:
        endpoint = ChatEndpoint(url, timeout_seconds=60)
        endpoint.chat(HELLO, temperature=0, max_tokens=1)
        twin = pickle.loads(pickle.dumps(endpoint))
        endpoint.close()
        texts = [e.chat(HELLO, temperature=0, max_tokens=1).text for e in (endpoint, twin)]
        endpoint.close()
        twin.close()
    assert texts == ["again", "again"]


@pytest.mark.parametrize(
    ("spec", "url", "model"),
    [
        ("http://localhost:8000/v1#tiny", "http://localhost:8000/v1", "tiny"),
        ("https://host/v1/#org/name-1.5", "https://host/v1", "org/name-1.5"),
        ("http://host/v1/chat/completions#m", "http://host/v1", "m"),
    ],
)
def test_a_spec_names_a_server_and_a_model(spec: str, url: str, model: str) -> None:
    assert parse_endpoint(spec) == EndpointSpec(url, model)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("localhost:8000/v1#m", "does not begin with http"),
        ("http://localhost:8000/v1", "names no model"),
        ("http://localhost:8000/v1#", "model is not well formed"),
        ("http://#m", "host, port"),
        ("http://host:port/v1#m", "port"),
        ("http://host/v1?key=1#m", "not well formed"),
        ("", "does not begin"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong_and_shows_a_right_one(spec: str, why: str) -> None:
    with pytest.raises(BadValue, match=rf"{why}.*localhost:8000/v1#my-model"):
        parse_endpoint(spec)
