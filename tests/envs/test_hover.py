import json
import pickle
import unicodedata

import pytest

from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue, DataUnavailable, UnknownName
from progym.envs.module import StepType
from progym.envs.program import Example, Score
from progym.envs.records import Completion
from progym.envs.rendering import render_reply
from progym.envs.tasks.hover import make_env, make_program, score
from progym.envs.worlds.encyclopedia import encyclopedia
from progym.envs.worlds.seeding import SPLITS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROGYM_CACHE", str(tmp_path / "cache"))


def gold_reply(env):
    return render_reply(env.pending_call.module, env.gold_fields())


def play(env, reply=gold_reply, example=0):
    _, info = env.reset(options={"example_id": env.examples.ids[example]})
    while "record" not in info:
        _, _, _, _, info = env.step(reply(env))
    return info["record"]


def answering(text):
    """Reply the same text in whatever output field is asked for."""
    return lambda env: render_reply(
        env.pending_call.module, {field.name: text for field in env.pending_call.module.outputs}
    )


@pytest.mark.parametrize("split", SPLITS)
def test_the_gold_policy_earns_nearly_all_on_every_split(split):
    env = make_env(split=split, size=100)
    rewards = [play(env, example=i).reward for i in range(100)]
    assert sum(rewards) / 100 >= 0.99


def test_four_hops_make_three_calls_of_each_module_in_turn():
    record = play(make_env())
    assert [StepType(call.module, call.occurrence) for call in record.calls] == [
        ("append_notes", 0),
        ("generate_query", 0),
        ("append_notes", 1),
        ("generate_query", 1),
        ("append_notes", 2),
        ("generate_query", 2),
    ]


def test_the_first_search_is_the_claim_and_the_others_are_the_queries():
    env = make_env()
    record = play(env)
    claim, titles = env.examples[0].inputs["claim"], env.examples[0].gold["titles"]
    assert [ask.request["query"] for ask in record.asks] == [claim, *titles[1:]]
    assert {ask.request["k"] for ask in record.asks} == {2}
    assert record.metrics == {"recall": 1.0, "titles_found": 4.0}


def test_notes_are_shown_one_per_line_and_articles_with_their_titles():
    env = make_env()
    record = play(env)
    facts = env.examples[0].gold["facts"]
    assert [call.inputs["key_facts"] for call in record.calls] == [
        (),
        (*facts[:1],),
        (*facts[:1],),
        (*facts[:2],),
        (*facts[:2],),
        (*facts,),
    ]
    assert (
        record.calls[0]
        .inputs["new_search_results"][0]
        .startswith(f"{env.examples[0].gold['titles'][0]} | ")
    )


def test_a_note_of_several_lines_is_several_notes():
    record = play(make_env(), answering("one\n\n  two "))
    assert record.calls[1].inputs["key_facts"] == ("one", "two")


def capture_outcome(outcomes):
    def keep(example, outcome):
        outcomes.append(json.loads(json.dumps(outcome)))
        return Score(0.0)

    return keep


def test_titles_accumulate_in_order_and_once():
    world, outcomes = encyclopedia("val"), []
    env = make_env(split="val")
    program = make_program(world.corpus, hops=4, docs_per_hop=2)
    env = ProgramEnv(program, env.examples, capture_outcome(outcomes), services=env.services)
    first, second = (passage.title for passage in world.corpus.passages[:2])
    queries = iter([first, second, first])

    def reply(env):
        asked_to_note = env.pending_call.module.name == "append_notes"
        return answering("a note" if asked_to_note else next(queries))(env)

    record = play(env, reply)
    found = [title for ask in record.asks for title in ask.answer]
    assert outcomes[0]["titles"] == list(dict.fromkeys(found))
    assert len(outcomes[0]["titles"]) < len(found)


def test_recall_is_the_share_of_gold_titles_however_unicode_spells_them():
    spelled = unicodedata.normalize("NFD", "Élan")
    example = Example("x", {}, {"titles": ["Élan", "B", "C", "D"]})
    result = score(example, {"titles": ["Z", spelled, "C", " B "]})
    assert result == Score(0.75, {"recall": 0.75, "titles_found": 3.0})
    assert score(example, {"titles": []}).value == 0.0


def test_asking_nothing_new_earns_the_first_article_only():
    env = make_env(size=50)
    rewards = [play(env, answering("nothing"), i).reward for i in range(50)]
    assert 0.2 <= sum(rewards) / 50 <= 0.35


def test_an_unreadable_reply_earns_the_failure_reward():
    record = play(make_env(failure_reward=-0.5), lambda env: "I don't know")
    assert (record.reward, record.score, record.status) == (-0.5, 0.0, "parse_failure")


@pytest.mark.parametrize("text", ["?", "\ud800", "\x00", "漢字", "the of and", "x" * 5000])
def test_no_query_can_break_an_episode(text):
    env = make_env()
    complete = lambda env: Completion(  # noqa: E731
        text, fields={field.name: text for field in env.pending_call.module.outputs}
    )
    assert play(env, complete).status == "ok"


def test_another_number_of_hops_and_articles():
    env = make_env(hops=2, docs_per_hop=5)
    record = play(env)
    assert [call.module for call in record.calls] == ["append_notes", "generate_query"]
    assert [len(ask.answer) for ask in record.asks] == [5, 5]
    assert play(make_env(hops=6)).metrics["recall"] == 1.0


def test_environments_of_a_split_share_examples_index_and_program():
    one, other = make_env(split="val"), make_env(split="val")
    assert one.services["retriever"] is other.services["retriever"]
    assert one.examples is other.examples
    assert one.program is other.program


def test_an_environment_survives_pickling():
    env = make_env(split="test")
    copy = pickle.loads(pickle.dumps(env))
    assert play(copy) == play(env)


def test_equal_arguments_give_equal_fingerprints_and_others_do_not():
    base = make_env(split="val").fingerprint
    assert make_env(split="val").fingerprint == base
    others = [
        make_env(split="test"),
        make_env(split="val", world_seed=1),
        make_env(split="val", size=9),
    ]
    assert base not in [other.fingerprint for other in others]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "tset"}, UnknownName, "Did you mean 'test'"),
        ({"hops": 1}, BadValue, "hops must be a whole number, 2 or more, got 1"),
        ({"hops": 2.0}, BadValue, "hops must be a whole number"),
        ({"docs_per_hop": 0}, BadValue, "docs_per_hop must be a whole number, 1 or more"),
        ({"size": 10**6}, BadValue, "size must be 1 to"),
        ({"corpus": "somewhere"}, BadValue, "corpus goes with"),
        ({"data": "folder", "size": 3}, BadValue, "belong to the embedded world"),
        ({"data": "no-such-folder"}, DataUnavailable, "There is no data folder"),
    ],
)
def test_a_wrong_argument_is_told(arguments, error, message):
    with pytest.raises(error, match=message):
        make_env(**arguments)


@pytest.fixture
def folder(tmp_path):
    rows = [("Ada", "Ada wrote notes."), ("Babbage", "Babbage built engines."), ("Cam", "A river.")]
    claims = [
        {
            "id": "c1",
            "inputs": {"claim": "Ada met the one of engines by a river"},
            "gold": {"titles": ["Ada", "Babbage", "Cam"]},
        }
    ]
    path = tmp_path / "hover"
    path.mkdir()
    (path / "dataset.json").write_text(json.dumps({"format": 1, "task": "hover"}))
    for split in ("train", "val", "test"):
        (path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, claims)))
    corpus = [json.dumps({"title": title, "text": text}) for title, text in rows]
    (path / "corpus.jsonl").write_text("\n".join(corpus))
    return path


def test_the_gold_policy_finds_the_titles_of_a_folder_one_by_one(folder):
    record = play(make_env(data=folder, docs_per_hop=1))
    assert [ask.request["query"] for ask in record.asks[1:]] == ["Babbage", "Cam", "Ada"]
    assert record.calls[0].fields == {"new_key_facts": "found Ada"}
    assert record.metrics == {"recall": 1.0, "titles_found": 3.0}


def test_a_title_within_another_is_still_asked_for(folder):
    rows = [{"title": t, "text": "It lies by a river."} for t in ("Ada", "Ada Town", "Cam")]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    row = {"id": "c1", "inputs": {"claim": "Town"}, "gold": {"titles": ["Ada Town", "Ada", "Cam"]}}
    (folder / "train.jsonl").write_text(json.dumps(row))
    record = play(make_env(data=folder, docs_per_hop=1))
    assert [ask.request["query"] for ask in record.asks[1:]] == ["Ada", "Cam", "Ada Town"]


def test_real_data_brings_25_articles_a_hop(folder):
    assert {ask.request["k"] for ask in play(make_env(data=str(folder))).asks} == {25}


def test_calls_know_what_share_of_the_gold_titles_had_come_up_before():
    env = make_env(size=20)
    for example in range(20):
        record = play(env, example=example)
        seen = [call.progress for call in record.calls]
        assert seen == sorted(seen)
        assert set(seen) <= {0.0, 0.25, 0.5, 0.75, 1.0}
        assert seen[-1] <= record.score
    assert play(env, answering("nothing")).calls[-1].progress == play(env).calls[0].progress
