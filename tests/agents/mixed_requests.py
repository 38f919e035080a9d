"""Requests of several lengths and heads, and what came of them."""

from progym.agents.model import GenerationRequest
from progym.envs.rendering import Message

LONG_HEAD = "Answer in one word, and nothing but one word."


def request(user: str, seed: int, system: str = LONG_HEAD) -> GenerationRequest:
    messages = (Message(role="system", content=system), Message(role="user", content=user))
    return GenerationRequest(messages, seed)


def mixed_requests(count: int = 24) -> list[GenerationRequest]:
    """Prompts of several lengths and two heads, most of them asked for more than once."""
    heads = (LONG_HEAD, "Short.")
    return [request("why? " * (i % 5), i, heads[i % 3 == 0]) for i in range(count)]


def token_ids(completions):
    return [completion.token_ids for completion in completions]
