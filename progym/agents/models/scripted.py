"""Models that are functions: tests, the gold policy as upper bound, noise as lower bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from progym.agents.model import GenerationRequest, Sampling
from progym.envs.errors import BadValue
from progym.envs.records import Completion
from progym.envs.rendering import Call, Message, render_reply
from progym.envs.text_space import TextSpace


class ScriptedModel:
    """Answers each call with `write(call, seed)`; counts words as tokens."""

    def __init__(self, write: Callable[[Call, int], str], name: str = "scripted") -> None:
        self.name = name
        self._write = write

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: Sampling,  # noqa: ARG002 - has no say in a script
    ) -> list[Completion]:
        """Answer every request."""
        return [_complete(r.messages, self._write(_call_of(r), r.seed)) for r in requests]


class GoldModel:
    """Writes the environment's gold fields: the upper bound of a task."""

    name = "gold"

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: Sampling,  # noqa: ARG002 - has no say in a script
    ) -> list[Completion]:
        """Answer every request; raises BadValue where the task knows no gold."""
        return [_complete(r.messages, self._write(r)) for r in requests]

    def _write(self, request: GenerationRequest) -> str:
        if request.gold is None:
            raise BadValue("The gold model needs an environment that knows the right replies.")
        return render_reply(_call_of(request).module, request.gold())


class GarbageModel:
    """Writes seeded noise that no module can read: the lower bound of a task."""

    name = "garbage"

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: Sampling,  # noqa: ARG002 - has no say in a script
    ) -> list[Completion]:
        """Answer every request."""
        return [
            _complete(r.messages, TextSpace(np.random.default_rng(r.seed)).sample())
            for r in requests
        ]


def _call_of(request: GenerationRequest) -> Call:
    if request.call is None:
        raise BadValue("A scripted model answers the calls of a program, and this is not one.")
    return request.call


def _complete(prompt: tuple[Message, ...], text: str) -> Completion:
    prompt_words = sum(len(message["content"].split()) for message in prompt)
    return Completion(text, prompt=prompt, usage=(prompt_words, len(text.split())))
