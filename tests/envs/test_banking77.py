import json
import pickle
import time

import gymnasium
import pytest

import progym.envs.catalog  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers the ids
from progym.envs.errors import BadData, BadValue, UnknownName
from progym.envs.rendering import render_reply
from progym.envs.tasks.banking77 import make_env, make_program
from progym.envs.worlds.intents import LABELS
from progym.envs.worlds.seeding import SPLITS


def answer(env, label):
    """Play the running episode with a label and give reward and record."""
    _, reward, terminated, _, info = env.step(f"Reasoning: a guess.\nLabel: {label}")
    assert terminated
    return reward, info["record"]


def write_folder(folder, labels):
    rows = [
        {"id": f"r{i}", "inputs": {"text": "hello"}, "gold": {"label": label}}
        for i, label in enumerate(labels)
    ]
    (folder / "dataset.json").write_text(json.dumps({"task": "banking77", "format": 1}))
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("split", SPLITS)
def test_gold_earns_one_on_every_label_of_every_split(split):
    env = make_env(split=split, size=77)
    labels = set()
    for example_id in env.examples.ids:
        _, info = env.reset(options={"example_id": example_id})
        reply = render_reply(info["call"].module, env.gold_fields())
        _, reward, _, _, info = env.step(reply)
        assert (reward, info["record"].metrics) == (1.0, {"accuracy": 1.0})
        labels.add(info["record"].calls[0].fields["label"])
    assert labels == set(LABELS)


@pytest.mark.parametrize(
    "text", ["", "no idea", "Label: card_arrival", "Reasoning: x\nLabel: a_bird"]
)
def test_an_unreadable_reply_earns_the_failure_reward(text):
    env = make_env(failure_reward=-0.5)
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(text)
    assert (reward, terminated, truncated) == (-0.5, True, False)
    assert info["record"].status == "parse_failure"
    assert info["record"].score == 0.0


def test_a_wrong_label_scores_zero_and_is_no_failure():
    env = make_env()
    env.reset(seed=0)
    wrong = next(label for label in LABELS if label != env.gold_fields()["label"])
    reward, record = answer(env, wrong)
    assert (reward, record.status, record.score) == (0.0, "ok", 0.0)


def test_labels_with_capitals_and_question_marks_can_be_written():
    env = make_env(size=77)
    for example_id in env.examples.ids:
        env.reset(options={"example_id": example_id})
        label = env.gold_fields()["label"]
        assert answer(env, f'"{label.lower()}"')[0] == 1.0


def test_the_prompt_shows_all_labels_or_none():
    text, _ = make_env().reset(seed=0)
    plain, _ = make_env(labels_in_prompt=False).reset(seed=0)
    assert all(label in text for label in LABELS)
    assert not any(label in plain for label in LABELS)


def test_without_labels_in_the_prompt_any_label_is_compared():
    env = make_env(labels_in_prompt=False)
    env.reset(seed=0)
    reward, record = answer(env, "a_bird")
    assert (reward, record.status) == (0.0, "ok")
    env.reset(seed=0)
    assert answer(env, env.gold_fields()["label"])[0] == 1.0


def test_environments_share_their_module():
    assert make_env().program is make_env(split="test").program is make_program(True)
    assert make_program(True).modules[0] is not make_program(False).modules[0]


def test_one_seed_one_example():
    envs = [make_env(split="val"), make_env(split="val")]
    assert envs[0].reset(seed=0)[0] == envs[1].reset(seed=0)[0]
    assert envs[0].fingerprint == envs[1].fingerprint
    assert envs[0].fingerprint != make_env(split="val", world_seed=1).fingerprint


def test_a_pickled_copy_plays_the_same_episode():
    env = make_env(split="val")
    copy = pickle.loads(pickle.dumps(env))
    assert copy.reset(seed=4)[0] == env.reset(seed=4)[0]
    assert answer(copy, copy.gold_fields()["label"])[0] == 1.0


def test_the_record_knows_the_data():
    env = gymnasium.make("Banking77-v0", split="test", size=10)
    env.reset(seed=1, options={"example_id": "test-00009"})
    _, record = answer(env, LABELS[0])
    assert (record.env_id, record.example_id) == ("Banking77-v0", "test-00009")
    assert record.fingerprint == make_env(split="test", size=10).fingerprint


def test_a_budget_of_no_calls_truncates_at_once():
    observation, info = make_env(max_calls=0).reset(seed=0)
    assert observation == ""
    assert info["record"].status == "truncated"


def test_the_large_split_is_made_in_an_instant():
    started = time.process_time()
    make_env(split="pretrain").reset(seed=0)
    assert time.process_time() - started < 0.5


def test_a_folder_of_real_data_is_played(tmp_path):
    env = make_env(data=write_folder(tmp_path, ["card_arrival"]), split="test")
    env.reset(seed=0)
    assert answer(env, "card_arrival")[0] == 1.0


def test_a_label_that_the_prompt_does_not_show_is_refused(tmp_path):
    folder = write_folder(tmp_path, ["card_arrival", "a_bird"])
    with pytest.raises(BadData, match=r"'r1'.*'a_bird'"):
        make_env(data=folder, split="test")
    assert make_env(data=folder, split="test", labels_in_prompt=False).examples.ids == ("r0", "r1")


def test_arguments_of_the_world_are_refused_with_other_data(tmp_path):
    with pytest.raises(BadValue, match="Leave them out"):
        make_env(data=tmp_path, split="test", size=3)


def test_an_unknown_split_is_named():
    with pytest.raises(UnknownName, match=r"split 'trian'.*Did you mean 'train'"):
        make_env(split="trian")
