"""HoVer with four hops: two modules search, take notes and search again for what settles a claim.

The first hop searches the claim itself; each later hop writes a query first, and all but the last
take notes of what came up. The score is the share of the gold articles among all that came up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

from progym.envs import sources
from progym.envs.corpus import Corpus, normalize_title
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue
from progym.envs.module import Field, Module, ask
from progym.envs.program import Example, Outcome, Program, Score, Steps
from progym.envs.records import AskRecord
from progym.envs.rendering import Call
from progym.envs.retrieval import retriever
from progym.envs.run import Limits
from progym.envs.worlds import encyclopedia

generate_query = Module(
    name="generate_query",
    instruction="Write the next search query that helps to check the claim.",
    inputs=(Field("claim"), Field("key_facts")),
    outputs=(Field("followup_search_query", "what to search for next"),),
)
append_notes = Module(
    name="append_notes",
    instruction="Note the fact in the new search results that helps to check the claim.",
    inputs=(Field("claim"), Field("key_facts"), Field("new_search_results")),
    outputs=(Field("new_key_facts", "what the results tell about the claim"),),
)

EMBEDDED_DOCS, REAL_DOCS = 2, 25


def make_env(
    *,
    split: str = "train",
    data: str | Path = "embedded",
    corpus: str | Path | None = None,
    world_seed: int = 0,
    size: int | None = None,
    docs_per_hop: int | None = None,
    hops: int = 4,
    max_calls: int | None = None,
    max_tokens: int | None = None,
    failure_reward: float = -1.0,
    render_mode: str | None = None,
) -> ProgramEnv:
    """Make HoVer4Hop-v0; with 4 hops an episode makes 3 calls of either module.

    Args:
        split: "train", "val" or "test"; the embedded world also has "pretrain".
        data: "embedded", "hub", or a folder in our format.
        corpus: With data="hub", a folder with the `corpus.jsonl` to search.
        world_seed: Which embedded world; another seed gives articles and claims no one has seen.
        size: Examples of the embedded split; the world's default where absent.
        docs_per_hop: Articles that a search brings; 2 in the embedded world, 25 in real data.
        hops: Searches in an episode; the first makes no call, so there are 2 or more.
        max_calls: Module calls an episode may spend.
        max_tokens: Completion tokens an episode may spend.
        failure_reward: Reward of a completion that can't be read.
        render_mode: None or "ansi".
    """
    if docs_per_hop is None:
        docs_per_hop = EMBEDDED_DOCS if data == "embedded" else REAL_DOCS
    for name, value, least in (("hops", hops, 2), ("docs_per_hop", docs_per_hop, 1)):
        if type(value) is not int or value < least:
            raise BadValue(f"{name} must be a whole number, {least} or more, got {value!r}.")
    task_data = sources.load_task(
        "hover", encyclopedia.world, data, split, world_seed=world_seed, size=size, corpus=corpus
    )
    passages = task_data.corpus
    assert passages is not None, "every source of HoVer's data has a corpus"
    return ProgramEnv(
        make_program(passages, hops=hops, docs_per_hop=docs_per_hop),
        task_data.examples,
        score,
        services={"retriever": retriever(passages)},
        gold=write_gold,
        progress=measure_progress,
        split=split,
        fingerprint=task_data.fingerprint,
        limits=Limits(max_calls=max_calls, max_tokens=max_tokens),
        failure_reward=failure_reward,
        render_mode=render_mode,
    )


@lru_cache(maxsize=16)
def make_program(corpus: Corpus, *, hops: int, docs_per_hop: int) -> Program:
    """Build the program over a corpus, whose articles its prompts show."""
    return Program(
        (generate_query, append_notes),
        partial(_run, corpus=corpus, hops=hops, docs_per_hop=docs_per_hop),
    )


def _run(claim: str, *, corpus: Corpus, hops: int, docs_per_hop: int) -> Steps:
    found: dict[str, None] = {}  # an ordered set
    key_facts: tuple[str, ...] = ()
    query = claim
    for hop in range(hops):
        if hop > 0:
            reply = yield generate_query(claim=claim, key_facts=key_facts)
            query = reply["followup_search_query"]
        titles = yield ask("retriever", query=query, k=docs_per_hop)
        found.update(dict.fromkeys(titles))
        if hop < hops - 1:
            results = corpus.show(titles)
            reply = yield append_notes(claim=claim, key_facts=key_facts, new_search_results=results)
            key_facts += _split_notes(reply["new_key_facts"])
    return {"titles": list(found), "key_facts": list(key_facts)}


def _split_notes(text: str) -> tuple[str, ...]:
    return tuple([line for line in map(str.strip, text.splitlines()) if line])


def score(example: Example, outcome: Outcome) -> Score:
    """Score the share of gold titles among the retrieved ones."""
    gold = {normalize_title(title) for title in example.gold["titles"]}
    found = gold.intersection(map(normalize_title, outcome["titles"]))
    recall = len(found) / len(gold)
    return Score(recall, {"recall": recall, "titles_found": float(len(found))})


def measure_progress(example: Example, asks: Sequence[AskRecord]) -> float:
    """Give the share of gold titles among those that came up so far."""
    gold = _normalized(tuple(example.gold["titles"]))
    found: set[str] = set()
    for asked in asks:
        if asked.service == "retriever":
            found.update(_normalized(tuple(asked.answer)))
    return len(gold & found) / len(gold)


@lru_cache(maxsize=4096)
def _normalized(titles: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(normalize_title, titles))


def write_gold(example: Example, call: Call) -> Mapping[str, str]:
    """Write the right reply: in the embedded world the chain's next step, else the gold titles.

    Real claims come without an order of their titles, so there the notes name the gold titles that
    came up, and the queries ask for the first title that no note names yet.
    """
    if "facts" in example.gold:
        return _write_next_step(example, call)
    titles: list[str] = example.gold["titles"]
    if call.module.name == generate_query.name:
        missing = (title for title in titles if f"found {title}" not in call.inputs["key_facts"])
        return {"followup_search_query": next(missing, titles[0])}
    results = {item.split(" | ", 1)[0] for item in call.inputs["new_search_results"]}
    known = [f"found {title}" for title in titles if normalize_title(title) in results]
    return {"new_key_facts": "\n".join(known) or "nothing new"}


def _write_next_step(example: Example, call: Call) -> Mapping[str, str]:
    facts: list[str] = example.gold["facts"]
    step = min(call.occurrence, len(facts) - 1)  # with more hops than relations the last returns
    if call.module.name == append_notes.name:
        return {"new_key_facts": facts[step]}
    return {"followup_search_query": example.gold["titles"][step + 1]}
