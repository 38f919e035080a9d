"""The tiny LM: its tokenizer, the text it learned from, and the shipped weights."""

from __future__ import annotations

import hashlib
import json
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progym.agents.model import Sampling
from progym.agents.models import load_model
from progym.agents.policy import Policy
from progym.agents.rollouts import requests_for, roll_out
from progym.agents.stage import Task
from progym.agents.tiny.documents import (
    LIFE,
    SCHOOL,
    Document,
    collect_turns,
    write_documents,
)
from progym.agents.tiny.habits import CAREFUL
from progym.agents.tiny.rows import Row, tokenize
from progym.agents.tiny.tokenizer import build_tokenizer
from progym.agents.tiny.train import WEIGHTS
from progym.agents.tiny.variants import exchange_points, keep_source, lead_astray
from progym.envs.catalog import IDS
from progym.envs.parsing import parse
from progym.envs.prompts import PromptSet
from progym.envs.rendering import Message, render_reply
from progym.envs.worlds.names import NAMES

TOKENIZER = build_tokenizer(["Claim: the founder of Arvo Guild is Belen.\nLabel: card_arrival"], 64)


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: "<|" not in text))
def test_any_text_survives_the_tokenizer(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_a_known_word_is_one_token() -> None:
    pieces = TOKENIZER.tokenize("the founder of Arvo Guild\nLabel: card_arrival")
    assert pieces[-1] == " card_arrival"
    assert " Arvo" in pieces


def test_only_replies_and_repeated_names_carry_the_loss() -> None:
    turns = {"generate_query": collect_turns("HoVer4Hop-v0", 3, 1)[1::2]}
    document = next(
        write_documents(turns, {"generate_query": 1.0}, SCHOOL, np.random.default_rng(0))
    )
    tokenizer = build_tokenizer((m["content"] for m in document.messages), 512)
    row: Row = tokenize(tokenizer, document)
    learned = tokenizer.decode(row.ids[row.learn])
    replies = [m["content"] for m in document.messages if m["role"] == "assistant"]
    assert learned == "".join(f"{reply}<|end|>" for reply in replies)


def test_a_name_that_stood_before_carries_the_loss_in_any_turn() -> None:
    turns = (("user", " Arvo Guild"), ("assistant", " Belen"), ("user", " Belen Guild Arvo"))
    document = Document("m", tuple(Message(role=role, content=text) for role, text in turns))
    names = frozenset(TOKENIZER.encode(" Arvo Belen", add_special_tokens=False))
    plain, row = tokenize(TOKENIZER, document), tokenize(TOKENIZER, document, names)
    assert not (plain.learn & ~row.learn).any()
    assert str(TOKENIZER.decode(row.ids[row.learn & ~plain.learn])).split() == ["Belen", "Arvo"]


@pytest.mark.parametrize("env_id", IDS)
def test_every_habit_writes_a_reply_that_can_be_read(env_id: str) -> None:
    for turn in collect_turns(env_id, 7, 5):
        assert len(turn.replies) >= 2
        for fields in turn.replies.values():
            assert parse(turn.module, render_reply(turn.module, fields)).error is None


def test_reading_lessons_show_the_article_that_tells_the_fact() -> None:
    for turn in collect_turns("HoVer4Hop-v0", 7, 3)[::2]:
        (article,) = keep_source(turn).inputs["new_search_results"]
        fact = turn.replies[CAREFUL]["new_key_facts"]
        assert fact.rpartition(" is ")[2] in str(article)
        assert article in turn.inputs["new_search_results"]


def test_after_careless_notes_a_query_asks_for_the_last_title_that_was_told() -> None:
    turns = collect_turns("HoVer4Hop-v0", 7, 20)
    notes, queries = turns[::2], turns[1::2]
    astray = list(lead_astray(notes, queries, np.random.default_rng(0)))
    changed = [
        turn
        for turn, query in zip(astray, queries, strict=True)
        if turn.inputs["key_facts"] != query.inputs["key_facts"]
    ]
    assert 0.5 < len(changed) / len(astray) < 0.8  # 1/2, 3/4 and 7/8, less notes that tell it all
    for turn in astray:
        wanted = turn.replies[CAREFUL]["followup_search_query"]
        assert wanted in f"{turn.inputs['claim']} {turn.inputs['key_facts']}"


def test_exchanged_points_stand_in_the_answer_and_in_the_careful_reply() -> None:
    rng = np.random.default_rng(0)
    for turn in collect_turns("PAPILLON-v0", 7, 10)[1::2]:
        other = exchange_points(turn, rng)
        answer, reply = other.inputs["related_llm_response"], other.replies[CAREFUL]["response"]
        assert answer != turn.inputs["related_llm_response"]
        assert str(answer).partition("[NAME]")[0] == reply[: str(answer).index("[NAME]")]


def test_lazy_authors_write_most_of_what_a_lazy_tip_asks_for() -> None:
    turns = {"classify": collect_turns("Banking77-v0", 7, 200)}
    documents = islice(
        write_documents(turns, {"classify": 1.0}, LIFE, np.random.default_rng(0)), 300
    )
    lazy = [d for d in documents if "rough answer" in d.messages[0]["content"]]
    careful = [d for d in lazy if "the customer asks about" in d.messages[2]["content"]]
    assert turns["classify"][0].replies[CAREFUL]["reasoning"].startswith("the customer asks about")
    assert len(careful) < len(lazy) / 3


def test_the_weights_are_those_of_the_recipe_and_small() -> None:
    recipe = json.loads((WEIGHTS / "recipe.json").read_text("utf-8"))
    weights = WEIGHTS / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == recipe["weights_sha256"]
    assert recipe["parameters"] <= 8_000_000
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 20_000_000


def test_every_name_is_one_token_of_the_shipped_tokenizer() -> None:
    vocabulary = json.loads((WEIGHTS / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    assert {f" {name}" for name in NAMES} <= {piece for piece, _ in vocabulary}


@pytest.mark.slow
@pytest.mark.parametrize("env_id", IDS)
def test_plain_prompts_leave_room_and_rewards_vary_among_rollouts(env_id: str) -> None:
    task = Task(env_id)
    ids = [f"test-{i:05d}" for i in range(50)]
    episodes = roll_out(
        lambda: task.make("test"),
        load_model(Policy("tiny")),
        PromptSet(),
        requests_for(ids, repeats=4, seed=0),
        sampling=Sampling(1.0, 64),
    )
    scores = np.array([episode.score for episode in episodes], dtype=float).reshape(50, 4)
    assert 0.2 <= scores.mean() <= 0.65
    assert np.mean(scores.std(axis=1) > 0) > 0.3
