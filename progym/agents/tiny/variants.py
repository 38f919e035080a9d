"""Calls changed for teaching: what they show is cut or exchanged, so that only reading it helps.

A model this small learns by heart what it can: which points go with a topic, that notes are always
right. A variant is taught under a name of its own beside the module's calls as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from progym.agents.tiny.habits import CAREFUL, Turn
from progym.envs.worlds.requests_knowledge import KIND_POINTS, TOPIC_POINTS, pick, recognize

READING = "append_notes, one article"
"""Calls of append_notes whose search results hold nothing but the article with the fact."""
ASTRAY = "generate_query, careless notes"
"""Calls of generate_query after notes of which half were taken by lazy authors."""
OTHER_POINTS = "respond, points of other texts"
"""Calls of respond whose answer brings up points of any topic."""

_POINTS = sorted(
    {point for table in (KIND_POINTS, TOPIC_POINTS) for p in table.values() for point in p}
)
_ANY_POINT = re.compile("|".join(map(re.escape, sorted(_POINTS, key=len, reverse=True))))


def add_variants(
    turns: Mapping[str, list[Turn]], rng: np.random.Generator
) -> dict[str, list[Turn]]:
    """Give the turns by module and, beside them, by variant."""
    notes, queries = turns["append_notes"], turns["generate_query"]
    return {
        **turns,
        READING: [keep_source(turn) for turn in notes],
        ASTRAY: list(lead_astray(notes, queries, rng)),
        OTHER_POINTS: [exchange_points(turn, rng) for turn in turns["respond"]],
    }


def keep_source(turn: Turn) -> Turn:
    """Leave only the article that holds the fact to note; give all if none is about its subject."""
    subject, _ = _split_fact(turn.replies[CAREFUL]["new_key_facts"])
    results = turn.inputs["new_search_results"]
    source = tuple(article for article in results if str(article).startswith(f"{subject} | "))
    return replace(turn, inputs={**turn.inputs, "new_search_results": source or results})


def lead_astray(
    notes: Sequence[Turn], queries: Sequence[Turn], rng: np.random.Generator
) -> Iterator[Turn]:
    """Have half of the notes before each query taken lazily; notes and queries are in one order.

    A careful query then asks for the last title of the chain that was told.
    """
    for position, query in enumerate(queries):
        known = len(query.inputs["key_facts"])
        before = notes[position + 1 - known : position + 1]
        facts = [turn.replies[CAREFUL]["new_key_facts"] for turn in before]
        taken = [
            turn.replies[str(rng.choice(["first", "any"]))]["new_key_facts"]
            if rng.random() < 0.5
            else fact
            for turn, fact in zip(before, facts, strict=True)
        ]
        titles = [_split_fact(facts[0])[0], *(_split_fact(fact)[1] for fact in facts)]
        told = " ".join([titles[0], *taken])
        careful = {"followup_search_query": [title for title in titles if title in told][-1]}
        yield replace(
            query,
            inputs={**query.inputs, "key_facts": tuple(taken)},
            replies={**query.replies, CAREFUL: careful},
        )


def exchange_points(turn: Turn, rng: np.random.Generator) -> Turn:
    """Exchange the points of the assistant's answer for those of other topics, in replies too."""
    answer = str(turn.inputs["related_llm_response"])
    named = recognize(str(turn.inputs["related_llm_request"]))
    own = {*KIND_POINTS[named[0]], *TOPIC_POINTS[named[1]]} if named else set[str]()
    foreign = [point for point in _POINTS if point not in own]  # so that no split's facts are told
    others = {point: pick(rng, foreign) for point in _ANY_POINT.findall(answer)}

    def exchange(text: str) -> str:
        return _ANY_POINT.sub(lambda found: others.get(found[0], found[0]), text)

    replies = {
        habit: {name: exchange(text) for name, text in reply.items()}
        for habit, reply in turn.replies.items()
    }
    inputs = {**turn.inputs, "related_llm_response": exchange(answer)}
    return replace(turn, inputs=inputs, replies=replies)


def _split_fact(fact: str) -> tuple[str, str]:
    """Give subject and object of "the {relation} of {subject} is {object}"."""
    subject, _, found = fact.partition(" of ")[2].partition(" is ")
    return subject, found
