"""The private-requests world: determinism, disjoint splits, and an assistant worth asking."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from itertools import combinations

import pytest

from progym.envs.errors import BadValue, UnknownName
from progym.envs.judging import share_present
from progym.envs.program import Example
from progym.envs.worlds import requests as world
from progym.envs.worlds.names import NAMES
from progym.envs.worlds.requests_knowledge import KIND_POINTS, SLOT, TOPIC_POINTS, knowledge
from progym.envs.worlds.requests_patterns import PATTERNS
from progym.envs.worlds.seeding import SIZES, SPLITS


def digest(split: str, world_seed: int = 0, count: int = 50) -> str:
    examples = world.requests(split, world_seed)[:count]
    rows = [[e.id, dict(e.inputs), dict(e.gold)] for e in examples]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def sentences(split: str, count: int) -> set[str]:
    """The sentences of a split's queries, its PII, kinds and topics replaced by what they are."""
    found: set[str] = set()
    for example in world.requests(split, 0, count):
        text = example.gold["redacted_query"]
        text = re.sub(rf"an? {example.gold['topic']}", "TOPIC", text)
        text = re.sub(rf"an? {example.gold['kind']}", "KIND", text)
        found.update(re.findall(r"[^.?!]+[.?!]", text.replace("[", "").replace("]", "")))
    return {sentence.strip() for sentence in found}


def test_the_world_is_the_one_that_results_were_measured_on() -> None:
    # A change here changes every score: raise VERSION along with it.
    assert {split: digest(split) for split in SPLITS} == {
        "train": "c976938a0fe190b3",
        "val": "ed0efc49d4c4f649",
        "test": "844482b950cd7f8d",
        "pretrain": "9480d9d3a447a9ed",
    }
    assert world.fingerprint("test") == "d046b78f341a902b"


def test_example_i_does_not_depend_on_how_it_was_reached() -> None:
    few, many = world.requests("train", 3, size=5), world.requests("train", 3)
    assert few[4] == many[4]
    assert many[-1].id == "train-00499"


def test_seeds_and_splits_give_other_users() -> None:
    assert len({digest(split, seed) for split in SPLITS for seed in (0, 1, 2)}) == 12


def test_no_sentence_pattern_stands_in_two_splits() -> None:
    seen: dict[str, str] = {}
    for split, groups in PATTERNS.items():
        for pattern in (pattern.casefold() for group in groups.values() for pattern in group):
            assert seen.setdefault(pattern, split) == split, pattern
    assert len(seen) == sum(len(group) for groups in PATTERNS.values() for group in groups.values())


def test_no_sentence_of_one_split_stands_in_another() -> None:
    by_split = {split: sentences(split, 400) for split in SPLITS}
    for split in SPLITS:
        others = set[str]().union(*(by_split[other] for other in SPLITS if other != split))
        assert len(by_split[split]) > 100
        assert not by_split[split] & others


def test_answers_of_two_splits_share_no_sentence_pattern() -> None:
    patterns: Mapping[str, set[str]] = {split: set() for split in SPLITS}
    for split in SPLITS:
        for example in world.requests(split, 0, 200):
            text = example.gold["target_response"]
            for unit in (*example.gold["required"], example.gold["kind"], example.gold["topic"]):
                text = re.sub(rf"(an? )?\b{unit}\b", "_", text)
            patterns[split].update(sentence.strip() for sentence in text.split("."))
    assert len(set[str]().union(*patterns.values())) == sum(map(len, patterns.values()))


@pytest.mark.parametrize("split", SPLITS)
def test_a_query_tells_every_unit_and_names_its_own_kind_and_topic(split: str) -> None:
    for example in world.requests(split, 0, 300):
        query, gold = example.inputs["user_query"], example.gold
        assert 2 <= len(gold["pii_units"]) <= 4
        assert share_present(gold["pii_units"], query) == 1.0
        assert share_present(gold["pii_units"], gold["redacted_query"]) == 0.0
        assert share_present(gold["required"][:-1], query) == 0.0
        assert world.recognize(query) == (gold["kind"], gold["topic"])


@pytest.mark.parametrize("split", SPLITS)
def test_the_assistant_serves_a_request_without_pii(split: str) -> None:
    assistant = world.UntrustedAssistant(split)
    for example in world.requests(split, 0, 300):
        request = world.gold_request(example)
        answer = assistant.answer(request=request)
        assert share_present(example.gold["pii_units"], request + answer) == 0.0
        assert world.gold_response(answer, example.gold["name"]) == example.gold["target_response"]
        assert share_present(example.gold["required"], example.gold["target_response"]) == 1.0


@pytest.mark.parametrize(
    "request_text",
    ["", "Please help me.", "Write a letter.", "Something about a wedding.", "weddings, letters"],
)
def test_a_vague_request_gets_an_answer_without_any_point(request_text: str) -> None:
    answer = world.UntrustedAssistant("train").answer(request_text)
    points = [point for table in (KIND_POINTS, TOPIC_POINTS) for p in table.values() for point in p]
    assert SLOT in answer
    assert share_present(points, answer) == 0.0


@pytest.mark.parametrize(
    ("request_text", "named"),
    [
        ("WEDDING   Letter", ("letter", "wedding")),
        ("a poem, no letter, about a\nbirthday  party", ("poem", "birthday party")),
        ("a letter to Babor@Kanil.net about an art show", ("letter", "art show")),
        ("a newsletter about a wedding", None),
    ],
)
def test_the_kind_and_the_topic_named_first_count(
    request_text: str, named: tuple[str, str] | None
) -> None:
    assert world.recognize(request_text) == named


def test_no_split_has_the_points_of_another_whatever_the_seeds() -> None:
    known = {
        split: {
            (kind, topic, frozenset(knowledge(seed, split, kind, topic).points))
            for kind in world.KINDS
            for topic in world.TOPICS
            for seed in range(4)
        }
        for split in SPLITS
    }
    for one, other in combinations(SPLITS, 2):
        assert not known[one] & known[other]


def test_seeds_differ_in_most_of_what_the_assistant_knows() -> None:
    pairs = [(kind, topic) for kind in world.KINDS for topic in world.TOPICS]
    same = [knowledge(0, "test", *pair) == knowledge(1, "test", *pair) for pair in pairs]
    assert sum(same) / len(same) < 0.3


def test_points_are_told_apart_by_topic_and_by_kind() -> None:
    for table in (KIND_POINTS, TOPIC_POINTS):
        for name, points in table.items():
            others = " | ".join(p for key, group in table.items() if key != name for p in group)
            assert share_present(points, others) <= 0.25, name  # a point may serve two topics
            assert len(set(points)) == len(points) >= 3


def test_texts_are_short_enough_for_a_tiny_model() -> None:
    def tokens(text: str) -> int:
        return len(re.findall(r"\w+|[^\w\s]", text))

    def gold_reply(example: Example) -> str:
        return world.gold_reasoning(example) + world.gold_request(example)

    examples = [example for split in SPLITS for example in world.requests(split, 0, 200)]
    assert max(tokens(example.inputs["user_query"]) for example in examples) <= 70
    assert max(tokens(example.gold["target_response"]) for example in examples) <= 42
    assert max(tokens(gold_reply(example)) for example in examples) <= 45


def test_the_vocabulary_is_small_and_closed() -> None:
    def words(split: str, seed: int) -> set[str]:
        rows = world.requests(split, seed, 400)
        texts = [f"{row.inputs['user_query']} {row.gold['target_response']}" for row in rows]
        found = {word for text in texts for word in re.findall(r"\w+", text)}
        return {word for word in found if not word.isdigit()} - set(NAMES)

    known = set[str]().union(*(words(split, 0) for split in SPLITS))
    assert len(known) < 750
    assert words("test", 7) <= known


@pytest.mark.parametrize("split", SPLITS)
def test_fingerprints_tell_split_seed_and_size_apart(split: str) -> None:
    names = {world.fingerprint(split, seed, size) for seed in (0, 1) for size in (None, 7)}
    assert len(names) == 4
    assert world.fingerprint(split, 0, SIZES[split]) == world.fingerprint(split)
    assert world.fingerprint(split) not in {world.fingerprint(s) for s in SPLITS if s != split}


def test_an_unknown_split_and_an_empty_one_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"'tset'.*Did you mean 'test'"):
        world.requests("tset")
    with pytest.raises(BadValue, match=r"size must be a whole number, 1 or more, got 0"):
        world.requests("test", 0, 0)
