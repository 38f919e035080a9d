"""How texts are judged: which units stand in a text, and which of two responses a model prefers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Literal

from progym.envs.endpoint import ChatEndpoint
from progym.envs.errors import ServiceFault
from progym.envs.module import Ask, ask
from progym.envs.rendering import Message

ATTEMPTS = 3
"""How often a judge is asked for one verdict before what it says counts as a fault."""

# Thai, Lao, Khmer, kana, Han and Hangul put words side by side: in them a unit may stand anywhere.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

_SYSTEM = (
    "You compare two responses to the same query of a user. Judge only how well each one serves "
    "the user; neither its length nor its place counts. Answer with one word: yes or no."
)


def share_present(units: Iterable[str], text: str) -> float:
    """Give the share of units that stand in a text as whole words, whatever the case.

    Hyphens and white space are alike. A unit that is listed twice counts once; without any unit
    the share is 0.
    """
    wanted = dict.fromkeys(unit for unit in map(_normalize, units) if unit)
    if not wanted:
        return 0.0
    text = _normalize(text)
    return sum(_stands(unit, text) for unit in wanted) / len(wanted)


def _normalize(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\s\u2010-\u2015-]+", " ", folded).strip()


def _stands(unit: str, text: str) -> bool:
    start = text.find(unit)
    while start >= 0:
        end = start + len(unit)
        if not _splits_word(text, start) and not _splits_word(text, end):
            return True
        start = text.find(unit, start + 1)
    return False


def _splits_word(text: str, position: int) -> bool:
    """Tell whether a cut at `position` would run through a word."""
    if not 0 < position < len(text):
        return False
    pair = text[position - 1 : position + 1]
    return pair.isalnum() and not _UNSPACED.search(pair)


@dataclass(frozen=True)
class Judge:
    """A served model that says whether one response is at least as good as another."""

    endpoint: ChatEndpoint
    deterministic: bool = False

    def answer(self, user_query: str, response_a: str, response_b: str, attempt: int) -> str:
        """Give what the judge says, unread; it is greedy at attempt 0 and sampled after that."""
        question = (
            f"Query:\n{user_query}\n\nResponse A:\n{response_a}\n\nResponse B:\n{response_b}\n\n"
            "Is response A at least as good as response B? Answer yes or no."
        )
        messages = [Message(role="system", content=_SYSTEM), Message(role="user", content=question)]
        temperature = 1.0 if attempt else 0.0
        reply = self.endpoint.chat(messages, temperature=temperature, max_tokens=256, seed=attempt)
        return reply.text


def read_verdict(said: str) -> Literal["yes", "no"] | None:
    """Read a judge's yes or no: its first word, or the only one of the two that it says."""
    said = said.rpartition("</think>")[2]
    if "<think>" in said:  # cut short before it came to a verdict
        return None
    words = re.findall(r"[^\W\d_]+", said.casefold())
    verdicts = {word for word in words if word in ("yes", "no")}
    if words and words[0] in verdicts:
        verdicts = {words[0]}
    if len(verdicts) != 1:
        return None
    return "yes" if "yes" in verdicts else "no"


@dataclass(frozen=True)
class Judgement:
    """The quality of a response against a target, and how far the judge is to be trusted."""

    quality: float
    contradictory: bool
    """Neither response is said to be as good as the other; many of these tell of a weak judge."""
    unreadable: int
    """Verdicts that were neither yes nor no and were asked for again."""


def judge_quality(user_query: str, response: str, target: str) -> Generator[Ask, str, Judgement]:
    """Ask the judge in both orders.

    Quality is 0 where the target is better in both orders and else 1: verdicts that contradict
    each other count for the response, as in the paper.

    Raises:
        ServiceFault: The judge gave no readable verdict in `ATTEMPTS` attempts; no quality is made
            up for it.
    """
    as_good, unreadable = yield from _ask_verdict(user_query, response, target)
    target_as_good, more = yield from _ask_verdict(user_query, target, response)
    worse = as_good == "no" and target_as_good == "yes"
    contradictory = as_good == target_as_good == "no"
    return Judgement(0.0 if worse else 1.0, contradictory, unreadable + more)


def _ask_verdict(
    user_query: str, first: str, second: str
) -> Generator[Ask, str, tuple[Literal["yes", "no"], int]]:
    said = ""
    for attempt in range(ATTEMPTS):
        said = yield ask(
            "judge", user_query=user_query, response_a=first, response_b=second, attempt=attempt
        )
        verdict = read_verdict(said)
        if verdict is not None:
            return verdict, attempt
    raise ServiceFault(
        f"The judge said neither yes nor no in {ATTEMPTS} attempts, at last {said[:100]!r}. "
        "Use a judge that follows instructions."
    )
