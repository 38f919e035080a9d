"""The paraphrase grammar of the intents world: sentences become customers' messages.

A sentence is text with choices `[a|b]` and slots `{amount}`. Openers and closers belong to one
split each; slots, contractions and typos are common to all, since they are no part of a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from progym.envs.worlds.names import NAMES

_OPENER_RATE, _CLOSER_RATE = 0.35, 0.3
_CONTRACTION_RATE, _CARELESS_RATE = 0.5, 0.12
TYPO_RATE = 0.12
"""Share of messages with one mistyped word."""

_NUMBERS = (10, 15, 20, 25, 30, 40, 50, 60, 75, 80, 100, 120, 150, 200, 250, 300, 400, 500)

SLOTS: Mapping[str, tuple[str, ...]] = {
    "amount": tuple(
        form.format(n) for n in _NUMBERS for form in ("£{}", "${}", "€{}", "{} euros", "{} pounds")
    ),
    "small": ("£1", "$1", "€1", "£2", "one euro", "one pound", "50 cents", "two dollars"),
    "currency": ("euros", "dollars", "pounds", "yen", "francs", "rupees", "pesos", "lira"),
    "country": (
        *("France", "Spain", "Italy", "Germany", "Poland", "Norway", "Ireland", "Portugal"),
        *("Canada", "Brazil", "Mexico", "Japan", "India", "Kenya", "Egypt", "Turkey"),
    ),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "ago": ("yesterday", "two days ago", "three days ago", "last week", "a week ago", "last month"),
    "span": ("three days", "five days", "ten days", "a week", "two weeks", "a month"),
    "age": ("13", "14", "15", "16", "17", "18"),
    "shop": (
        *("supermarket", "restaurant", "hotel", "bookshop", "bakery", "cinema", "pharmacy"),
        *("garage", "petrol station", "shoe shop"),
    ),
    "name": tuple(NAMES),
}
_PERSONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "child": (("son", "he"), ("daughter", "she")),
    "friend": (("brother", "he"), ("sister", "she"), ("uncle", "he"), ("aunt", "she")),
}
_CONTRACTIONS = (
    *(("can not", "can't"), ("do not", "don't"), ("does not", "doesn't"), ("did not", "didn't")),
    *(("will not", "won't"), ("would not", "wouldn't"), ("is not", "isn't"), ("I am", "I'm")),
    *(("has not", "hasn't"), ("was not", "wasn't"), ("are not", "aren't"), ("I would", "I'd")),
)

OPENERS: Mapping[str, tuple[str, ...]] = {
    "train": (
        "Hey,",
        "Good evening.",
        "Excuse me,",
        "One question:",
        "I need some help.",
        "Dear team,",
        "This is my first message to you.",
    ),
    "val": (
        "Good afternoon.",
        "Hello support,",
        "Just wondering:",
        "Listen,",
        "To be brief:",
    ),
    "test": (
        "Hello again.",
        "I am a bit lost.",
        "Well,",
        "Help me out:",
        "Greetings.",
        "Good day,",
    ),
    "pretrain": (
        "Hi,",
        "Hello,",
        "Hi there,",
        "Good morning.",
        "Sorry to bother you, but",
        "Quick question:",
        "I have a problem.",
        "I have a question.",
        "Please help me:",
    ),
}
CLOSERS: Mapping[str, tuple[str, ...]] = {
    "train": (
        "Could you look into it?",
        "Many thanks.",
        "Please advise.",
        "I look forward to an answer.",
        "Thanks for your time.",
    ),
    "val": (
        "Kindly reply soon.",
        "Cheers.",
        "Any idea?",
        "An answer today would be nice.",
    ),
    "test": (
        "Thank you.",
        "Please get back to me.",
        "Can anyone tell me?",
        "I am grateful for advice.",
        "It is urgent.",
    ),
    "pretrain": (
        "Please help.",
        "Thanks.",
        "Thanks in advance.",
        "Please let me know.",
        "Can you help me?",
        "Can you tell me?",
        "I need to know soon.",
        "Please check.",
    ),
}

_CHOICE = re.compile(r"\[([^\]]*)\]")
_SLOT = re.compile(r"\{([a-z]+)\}")
_LONG_WORD = re.compile(r"(?<![A-Za-z'£$€])[a-z]{5,}(?![A-Za-z'])")


def variants(sentence: str) -> list[str]:
    """Write out all choices of a sentence; slots stay."""
    parts = [
        part.split("|") if position % 2 else [part]
        for position, part in enumerate(_CHOICE.split(sentence))
    ]
    return ["".join(words) for words in product(*parts)]


def compose(sentence: str, split: str, rng: np.random.Generator) -> str:
    """Turn a sentence into a message without typos: choose words, fill slots, frame, contract."""
    chosen = _CHOICE.sub(lambda match: _pick(match[1].split("|"), rng), sentence)
    opener = _pick(OPENERS[split], rng) if rng.random() < _OPENER_RATE else ""
    closer = _pick(CLOSERS[split], rng) if rng.random() < _CLOSER_RATE else ""
    framed = [part for part in (opener, chosen, closer) if part]
    if rng.random() < _CONTRACTION_RATE:
        framed = [_contract(part) for part in framed]
    is_careless = rng.random() < _CARELESS_RATE
    if is_careless:
        framed[-1] = framed[-1].rstrip(".?!")
    else:
        framed = _capitalize(framed)
    return _fill(" ".join(framed).replace("can not", "cannot"), rng)


def mistype(text: str, rng: np.random.Generator) -> str:
    """Mistype one longer word: a letter dropped, doubled or swapped with the next."""
    words = list(_LONG_WORD.finditer(text))
    if not words:
        return text
    word = words[int(rng.integers(len(words)))]
    at = int(rng.integers(1, len(word[0]) - 1))
    letter, following = word[0][at], word[0][at + 1]
    wrong = ("", letter * 2, following + letter)[int(rng.integers(3))]
    consumed = 2 if wrong == following + letter else 1
    position = word.start() + at
    return text[:position] + wrong + text[position + consumed :]


def _fill(text: str, rng: np.random.Generator) -> str:
    held = int(rng.integers(len(SLOTS["currency"])))
    step = int(rng.integers(1, len(SLOTS["currency"])))
    wanted = (held + step) % len(SLOTS["currency"])
    values = {"currency": SLOTS["currency"][held], "other": SLOTS["currency"][wanted]}
    for slot in dict.fromkeys(_SLOT.findall(text)):
        if slot in _PERSONS:
            persons = _PERSONS[slot]
            values[slot], values["they"] = persons[int(rng.integers(len(persons)))]
        elif slot in SLOTS and slot not in values:
            values[slot] = _pick(SLOTS[slot], rng)
    filled = _SLOT.sub(lambda match: values[match[1]], text)
    return filled[0].upper() + filled[1:] if text[0] == "{" else filled


def _capitalize(parts: list[str]) -> list[str]:
    # After "Hi," or "One question:" the sentence goes on.
    goes_on = [False, *(part[-1] not in ".?!" for part in parts[:-1])]
    return [
        part if follows else part[0].upper() + part[1:]
        for part, follows in zip(parts, goes_on, strict=True)
    ]


def _contract(text: str) -> str:
    for long, short in _CONTRACTIONS:
        # Not at the end of a clause: nobody writes "tell me who I'm".
        text = re.sub(rf"\b{long}(?= \w)", short, text)
    return text


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
