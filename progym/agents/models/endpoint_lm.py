"""Any OpenAI-compatible server as a `LanguageModel`: many requests at once, no token ids."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from progym.agents.model import GenerationRequest, Sampling
from progym.envs.endpoint import ChatEndpoint, ChatReply
from progym.envs.errors import ServiceFault
from progym.envs.records import Completion

logger = logging.getLogger(__name__)


class EndpointModel:
    """Asks a served model; `generate` may be called from many threads, so rollouts overlap.

    Seeds are sent along, but how far a server heeds them is its own affair.

    Args:
        spec: `http://host:port/v1#model-name`.
        concurrency: Requests under way at once.
        retries: Further tries of a request after a ServiceFault.
        retry_seconds: Wait before the first further try; doubles each time.
        timeout_seconds: How long one completion may take.
    """

    def __init__(
        self,
        spec: str,
        *,
        concurrency: int = 16,
        retries: int = 3,
        retry_seconds: float = 1.0,
        timeout_seconds: float = 120.0,
    ) -> None:
        self.endpoint = ChatEndpoint(spec, timeout_seconds=timeout_seconds)
        self.name = str(self.endpoint.spec)
        self.concurrency = concurrency
        self._retries, self._retry_seconds = retries, retry_seconds

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling
    ) -> list[Completion]:
        """Complete every request; raises ServiceFault once one has failed all its tries."""
        if len(requests) < 2:
            return [self._complete(request, sampling) for request in requests]
        with ThreadPoolExecutor(min(self.concurrency, len(requests)), "progym-request") as threads:
            futures = [threads.submit(self._complete, request, sampling) for request in requests]
            try:
                return [future.result() for future in futures]
            finally:  # nothing is left to cancel unless one failed
                threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Close the connections; a later request opens them again."""
        self.endpoint.close()

    def _complete(self, request: GenerationRequest, sampling: Sampling) -> Completion:
        reply = self._ask(request, sampling)
        return Completion(
            reply.text,
            prompt=request.messages,
            usage=(reply.prompt_tokens, reply.completion_tokens),
            finish=reply.finish,
        )

    def _ask(self, request: GenerationRequest, sampling: Sampling) -> ChatReply:
        for attempt in range(self._retries + 1):
            try:
                return self.endpoint.chat(
                    request.messages,
                    temperature=sampling.temperature,
                    max_tokens=sampling.max_completion_length,
                    seed=request.seed,
                )
            except ServiceFault as fault:
                if attempt == self._retries:
                    raise
                wait = self._retry_seconds * 2**attempt
                logger.warning("%s Trying again in %.1f s.", fault, wait)
                time.sleep(wait)
        raise AssertionError("unreachable")
