"""The one interface that language models stand behind, and the requests they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from progym.envs.errors import BadValue
from progym.envs.records import Completion
from progym.envs.rendering import Call, Message


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn."""

    temperature: float = 1.0
    """0 takes the likeliest token; otherwise logits are divided by it."""
    max_completion_length: int = 64
    """Tokens; a completion that reaches it ends with finish="length"."""

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise BadValue(f"temperature must be 0 or more, got {self.temperature}.")
        if self.max_completion_length < 1:
            raise BadValue(
                f"max_completion_length must be 1 or more, got {self.max_completion_length}."
            )


@dataclass(frozen=True)
class GenerationRequest:
    """One completion wanted: the rendered messages and the seed of its own random stream."""

    messages: tuple[Message, ...]
    seed: int
    module: str = ""
    """Whose call it is."""
    call: Call | None = None
    """The call behind the messages, for scripted models; None for an environment not of ours."""
    gold: Callable[[], Mapping[str, str]] | None = None
    """Gives the right fields while the call is pending, for scripted upper bounds; else None."""


@runtime_checkable
class StandingModel(Protocol):
    """A language model that computes things once while its weights stand."""

    def standing(self) -> AbstractContextManager[None]:
        """Promise that no weight changes until this ends."""
        ...


class LanguageModel(Protocol):
    """Writes completions for a batch of requests.

    Answers come in the requests' order, each a `Completion` with the messages as `prompt`, and with
    `prompt_ids`, `token_ids` and `logprobs` where the model knows them. The same requests in the
    same batch give the same completions, bit for bit on the CPU. Prompts that do not fit the
    model's context raise PromptTooLong with both lengths and the places of all of them among the
    requests: nothing is cut in silence. An endpoint that can't be reached raises ServiceFault.
    """

    name: str

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling
    ) -> list[Completion]:
        """Complete every request."""
        ...
