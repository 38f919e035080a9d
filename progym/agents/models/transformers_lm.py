"""A causal LM of transformers as a `LanguageModel`; the one that trains."""

from __future__ import annotations

import sys
from collections.abc import Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from peft import PeftModel

from progym.agents.model import GenerationRequest, Sampling
from progym.agents.models.adapters import SHARED, adapter_in_use
from progym.agents.models.decoding import Sampled, sample
from progym.agents.models.prefill import Row
from progym.agents.models.prefix_cache import PrefixCache
from progym.agents.models.prefixes import common_prefix
from progym.agents.models.sampling_weights import SamplingWeights
from progym.envs.errors import BadData, PromptTooLong
from progym.envs.records import Completion
from progym.envs.rendering import Message

_CACHE_BYTES = 1 << 30
"""Memory for keys and values of a batch; requests beyond it wait until others are answered."""


class TransformersModel:
    """Samples from a causal LM with a chat template, adapter included if the model has one.

    `model` and `tokenizer` are there for training; sampling reads the weights as they are at the
    time and leaves the model's mode as it was.

    Args:
        model: A `PreTrainedModel` or `PeftModel` with plain attention layers.
        tokenizer: Its tokenizer, with a chat template.
        name: What records and tables call it.
        adapters: The adapter that answers a module's calls, None for none at all; other calls are
            answered by the `shared` one, which PEFT calls "default".
        fingerprint: Of the weights below the adapter; an adapter remembers what it belongs to.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        fingerprint: str = "",
        adapters: Mapping[str, str | None] | None = None,
    ) -> None:
        if not tokenizer.chat_template:
            raise BadData(
                f"The tokenizer of {name} has no chat template. Take an instruction-tuned model, "
                "or add a chat_template.jinja to its folder."
            )
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.fingerprint = fingerprint
        self.adapters = dict(adapters or {})
        shared = isinstance(model, PeftModel) and SHARED in model.peft_config
        self.shared: str | None = SHARED if shared else None
        config = model.config.get_text_config()
        self.context_length: int | None = getattr(config, "max_position_embeddings", None)
        self.eos_ids = _eos_ids(model, tokenizer)
        self._prefixes: PrefixCache | None = None
        self._weights: SamplingWeights | None = None
        self._max_tokens = _CACHE_BYTES // _bytes_per_token(model, config)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Give the prompt's token ids, ready for the assistant's turn."""
        return self.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=False
        )

    def rows(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Row]:
        """Encode the requests' prompts; raises PromptTooLong where one does not fit the context."""
        encoded: dict[Hashable, tuple[int, ...]] = {}
        rows: list[Row] = []
        heads: dict[Hashable, tuple[int, ...]] = {}
        too_long: list[int] = []
        room = (self.context_length or sys.maxsize) - sampling.max_completion_length
        for position, request in enumerate(requests):
            key = tuple((message["role"], message["content"]) for message in request.messages)
            prompt = encoded.get(key)
            if prompt is None:
                prompt = encoded[key] = tuple(self.encode(request.messages))
            if len(prompt) > room:
                too_long.append(position)
            head, last = key[:-1], request.messages[-1]
            if head not in heads:
                heads[head] = self._head_ids(request.messages[:-1], last["role"])
            known = heads[head] if prompt[: len(heads[head])] == heads[head] else ()
            rows.append(Row(prompt, head, request.seed, known))
        if too_long:
            raise PromptTooLong(
                f"A prompt of {len(rows[too_long[0]].prompt)} tokens and up to "
                f"{sampling.max_completion_length} new ones do not fit the context of {self.name}, "
                f"{self.context_length} tokens. Use fewer or shorter demos, a smaller "
                "max_completion_length or another model.",
                too_long,
            )
        return rows

    @contextmanager
    def standing(self) -> Generator[None]:
        """Promise that no weight changes until this ends: what follows from them is kept."""
        before = self._prefixes, self._weights
        self._prefixes, self._weights = PrefixCache(), SamplingWeights()
        try:
            yield
        finally:
            self._prefixes, self._weights = before

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling
    ) -> list[Completion]:
        """Complete every request; raises PromptTooLong where one does not fit the context."""
        if not requests:
            return []
        rows = self.rows(requests, sampling)
        training = self.model.training
        self.model.eval()
        try:
            results = self._sample([request.module for request in requests], rows, sampling)
        finally:
            self.model.train(training)
        return [
            self._complete(request, row, result)
            for request, row, result in zip(requests, rows, results, strict=True)
        ]

    def _sample(
        self, modules: Sequence[str], rows: Sequence[Row], sampling: Sampling
    ) -> list[Sampled]:
        """Sample the rows of each adapter together."""
        places: dict[str | None, list[int]] = {}
        for place, module in enumerate(modules):
            places.setdefault(self.adapters.get(module, self.shared), []).append(place)
        results: dict[int, Sampled] = {}
        weights, prefixes = self._weights or SamplingWeights(), self._prefixes or PrefixCache()
        for adapter, chosen in places.items():
            with adapter_in_use(self.model, adapter), weights.in_use(self.model, adapter):
                sampled = sample(
                    self.model,
                    [rows[place] for place in chosen],
                    sampling,
                    eos_ids=self.eos_ids,
                    max_tokens=self._max_tokens,
                    keep=partial(prefixes.get, adapter),
                )
            results |= zip(chosen, sampled, strict=True)
        return [results[place] for place in range(len(rows))]

    def _head_ids(self, head: Sequence[Message], role: str) -> tuple[int, ...]:
        """Give the tokens that all prompts with these messages before the last begin with."""
        probes = [
            tuple(self.encode([*head, Message(role=role, content=text)])) for text in ("a", "[")
        ]
        return probes[0][: common_prefix(probes)]

    def _complete(self, request: GenerationRequest, row: Row, result: Sampled) -> Completion:
        written = result.token_ids[:-1] if result.ended else result.token_ids
        text = self.tokenizer.decode(
            written, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return Completion(
            text,
            token_ids=tuple(result.token_ids),
            logprobs=tuple(result.logprobs),
            prompt=request.messages,
            prompt_ids=row.prompt,
            finish="stop" if result.ended else "length",
        )


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Collect whatever ends a turn: some models name several, some only in one of two places."""
    named: int | list[int] | None = model.generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    own: int | None = tokenizer.eos_token_id
    return frozenset(i for i in (*ids, own) if i is not None)


def _bytes_per_token(model: Any, config: Any) -> int:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * size * model.dtype.itemsize
