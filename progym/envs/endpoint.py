"""A client for any OpenAI-compatible chat-completions server, named by `http://host:port/v1#model`.

One `ChatEndpoint` may be used from many threads at once. The key, where the server wants one, is
read from the environment at every request, so that it is never pickled or recorded.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from progym.envs.errors import BadValue, Misconfigured, MissingExtra, ServiceFault
from progym.envs.rendering import Message

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "PROGYM_API_KEY"

_SPEC = re.compile(r"(https?://[^/#?:\s]+(?::\d+)?(?:/[^#?\s]*?)?)/*#(\S+)\Z")
_PAST = "/chat/completions"


@dataclass(frozen=True)
class EndpointSpec:
    """Where a model is served, and its name there."""

    url: str
    model: str

    def __str__(self) -> str:
        return f"{self.url}#{self.model}"


@dataclass(frozen=True)
class ChatReply:
    """What a server answered; token counts are the server's own, 0 where it gives none."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: Literal["stop", "length"]


def parse_endpoint(spec: str) -> EndpointSpec:
    """Read `http://host:port/v1#model-name`; raises BadValue with what is wrong."""
    match = _SPEC.match(spec.strip())
    if match is None:
        if not spec.strip().startswith(("http://", "https://")):
            wrong = "it does not begin with http:// or https://"
        elif "#" not in spec:
            wrong = "it names no model after a '#'"
        else:
            wrong = "host, port or model is not well formed"
        raise BadValue(
            f"Endpoint {spec!r}: {wrong}. Write the server's base URL and the model's name, "
            "such as 'http://localhost:8000/v1#my-model'."
        )
    return EndpointSpec(match[1].removesuffix(_PAST), match[2])


class ChatEndpoint:
    """Asks one served model for chat completions; safe to share between threads, and pickles.

    Args:
        spec: `http://host:port/v1#model-name`.
        timeout_seconds: How long one completion may take.

    Raises:
        BadValue: The spec is malformed.
        MissingExtra: httpx is not installed.
    """

    def __init__(self, spec: str, *, timeout_seconds: float = 120.0) -> None:
        if find_spec("httpx") is None:
            raise MissingExtra("Endpoints need httpx. Install it with: pip install 'progym[serve]'")
        self.spec = parse_endpoint(spec)
        self.timeout_seconds = timeout_seconds
        self._client: httpx.Client | None = None
        self._lock = Lock()

    def chat(
        self,
        messages: Sequence[Message],
        *,
        temperature: float,
        max_tokens: int,
        seed: int | None = None,
    ) -> ChatReply:
        """Ask for one completion.

        Raises:
            ServiceFault: The server can't be reached, is busy (408, 429), failed (5xx) or answered
                with something else than a completion; another try may help.
            Misconfigured: Key, URL or model name are wrong (401, 403, 404): so is every request.
            BadValue: The server refused this request (any other 4xx).
        """
        body: dict[str, Any] = {
            "model": self.spec.model,
            "messages": list(messages),
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        if seed is not None:
            body["seed"] = seed % 2**31  # what servers in 32 bits still accept
        return self._read(self._post(body))

    def close(self) -> None:
        """Close the connections; a later `chat` opens them again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(ChatEndpoint, timeout_seconds=self.timeout_seconds), (str(self.spec),))

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        client = self._open()
        import httpx

        key = _key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers["Content-Type"] = "application/json"
        content = json.dumps(body)  # ASCII only: a model may write what UTF-8 can't hold
        try:
            response = client.post(self.spec.url + _PAST, content=content, headers=headers)
        except httpx.TimeoutException as error:
            raise self._fault(
                f"no answer within {self.timeout_seconds:g} s ({type(error).__name__})",
                "See whether the server is overloaded, or ask for fewer tokens.",
            ) from error
        except httpx.HTTPError as error:
            raise self._fault(
                f"can't be reached ({type(error).__name__}: {error})",
                "See that the server runs and that host and port are right.",
            ) from error
        self._check_status(response)
        return response

    def _open(self) -> httpx.Client:
        import httpx  # late: an optional package

        with self._lock:
            if self._client is None:
                # Callers decide how many calls run at once: the pool neither caps nor times out.
                self._client = httpx.Client(
                    timeout=httpx.Timeout(self.timeout_seconds, connect=10.0, pool=None),
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
                )
            return self._client

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        said = response.text.strip()[:300] or "nothing more"
        if status == 429:
            raise self._fault(f"too many requests (429): {said}", "Run fewer episodes at once.")
        if status >= 500:
            raise self._fault(f"failed ({status}): {said}", "See the server's log.")
        if status == 408:
            raise self._fault(f"request timed out (408): {said}", "Run fewer episodes at once.")
        refused = f"Endpoint {self.spec} refused the request ({status}): {said}."
        if status in (401, 403):
            raise Misconfigured(f"{refused} Set {KEY_VARIABLE} to a key that it accepts.")
        if status == 404:
            raise Misconfigured(
                f"{refused} The base URL usually ends in /v1, and the model must be one that it "
                "serves."
            )
        raise BadValue(f"{refused} The request itself has to change: trying again won't help.")

    def _read(self, response: httpx.Response) -> ChatReply:
        try:
            values = response.json()
            choice = values["choices"][0]
            text, finish = choice["message"]["content"], choice.get("finish_reason")
            usage: dict[str, Any] = values.get("usage") or {}
            prompt_tokens = int(usage.get("prompt_tokens") or 0)
            completion_tokens = int(usage.get("completion_tokens") or 0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._malformed(response, repr(error)) from error
        if text is None and finish == "length":
            text = ""  # a reasoning model that spent its tokens before it began to answer
        if not isinstance(text, str):
            raise self._malformed(response, "its message has no text content")
        return ChatReply(
            text, prompt_tokens, completion_tokens, "length" if finish == "length" else "stop"
        )

    def _malformed(self, response: httpx.Response, why: str) -> ServiceFault:
        return self._fault(
            f"answered with something that is no chat completion ({why}): {response.text[:200]!r}",
            "See that the URL is that of an OpenAI-compatible server.",
        )

    def _fault(self, what: str, next_step: str) -> ServiceFault:
        return ServiceFault(f"Endpoint {self.spec}: {what}. {next_step}")


def _key() -> str:
    """Read the key; what a header can't hold is refused here, as httpx's own error shows it."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise Misconfigured(
            f"{KEY_VARIABLE} holds characters that no key has; it is not shown here. "
            "A key is printable ASCII: copy it again."
        )
    return key
