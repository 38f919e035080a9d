"""The contract that every registered environment keeps; a new line in the catalog is tested too."""

from __future__ import annotations

import os
import pickle
import socket
import statistics
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import progym
from progym.envs.catalog import IDS
from progym.envs.env import ProgramEnv
from progym.envs.errors import ProgymError
from progym.envs.recording import read_episode
from progym.envs.records import Episode
from progym.envs.rendering import render_reply
from progym.envs.replay import replay
from progym.envs.strict_json import dump_line

SPLITS = ("train", "val", "test", "pretrain")
EXAMPLES = 12

every_env = pytest.mark.parametrize("env_id", IDS)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    """Let nothing of this file reach the network, nor leave anything in the user's cache."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("An environment tried to reach the network.")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("PROGYM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def make(env_id: str, **kwargs: Any) -> ProgramEnv:
    env = progym.make(env_id, **kwargs).unwrapped
    assert isinstance(env, ProgramEnv)
    return env


def gold_reply(env: ProgramEnv) -> str:
    return render_reply(env.pending_call.module, env.gold_fields())


def play(env: ProgramEnv, text: str | None = None, **reset: Any) -> Episode:
    """Play an episode with gold replies, or with one text for every call."""
    _, info = env.reset(**reset)
    while "record" not in info:
        *_, info = env.step(gold_reply(env) if text is None else text)
    return info["record"]


def spread(env: ProgramEnv) -> list[str]:
    """Choose example ids from the whole of a split."""
    ids = env.examples.ids
    return list(ids[:: max(1, len(ids) // EXAMPLES)])[:EXAMPLES]


@every_env
def test_the_checker_of_gymnasium_has_nothing_to_warn_of(env_id: str):
    check_env(make(env_id))


@every_env
@pytest.mark.parametrize("split", SPLITS)
def test_gold_replies_earn_the_whole_reward_on_every_split(env_id: str, split: str):
    env = make(env_id, split=split)

    episodes = [play(env, options={"example_id": name}) for name in env.examples.ids[:200]]

    # Nearly: HoVer's first search is the claim itself, and a few miss the article it names.
    assert {episode.status for episode in episodes} == {"ok"}
    assert sum(episode.reward for episode in episodes) / len(episodes) >= 0.99
    assert statistics.median(episode.reward for episode in episodes) >= 0.99


@every_env
def test_the_same_seed_gives_the_same_episode_bit_for_bit(env_id: str):
    one, two = make(env_id), make(env_id)

    digests = [[play(env, seed=seed).digest for seed in (0, 1, 2)] for env in (one, two)]

    assert digests[0] == digests[1]
    assert len(set(digests[0])) > 1


def test_another_process_with_another_hash_seed_plays_the_same_episodes():
    script = """
import progym
from progym.envs.catalog import IDS
from progym.envs.rendering import render_reply
for env_id in IDS:
    env = progym.make(env_id, split="val").unwrapped
    info = env.reset(seed=5)[1]
    while "record" not in info:
        info = env.step(render_reply(env.pending_call.module, env.gold_fields()))[-1]
    print(info["record"].digest)
"""
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)

    ours = [play(make(env_id, split="val"), seed=5).digest for env_id in IDS]

    assert done.stdout.split() == ours


@every_env
@pytest.mark.parametrize(
    "text",
    [
        *("", "garbage", "\ud800\x00", "漢" * 10_000, "Label: [[", " \n" * 99),
        *("Reason\u0131ng: x", "Rea\u017foning: x"),  # letters that Unicode folds to a label's
    ],
)
def test_garbage_earns_the_failure_reward_and_never_raises(env_id: str, text: str):
    episode = play(make(env_id, failure_reward=-0.7), text, seed=0)

    assert (episode.status, episode.reward, episode.score) == ("parse_failure", -0.7, 0.0)
    assert len(episode.calls) == 1


@every_env
def test_an_environment_pickles_before_and_after_a_reset(env_id: str):
    env = make(env_id)
    fresh = pickle.loads(pickle.dumps(env))
    expected = play(env, seed=3).digest
    env.reset(seed=0)

    copies = [fresh, pickle.loads(pickle.dumps(env))]

    assert [play(copy, seed=3).digest for copy in copies] == [expected, expected]


@every_env
@pytest.mark.parametrize("text", [None, "garbage"])
def test_an_episode_replays_from_its_line_alone(env_id: str, text: str | None):
    episode = play(make(env_id, split="val"), text, seed=0)

    again = read_episode(dump_line(episode.to_json()), "line")

    assert again == episode
    report = replay(again)
    assert report.matches, report.drift


@every_env
def test_a_spent_budget_truncates_with_score_0_and_replays(env_id: str):
    calls = len(play(make(env_id), seed=0).calls)

    episode = play(make(env_id, max_calls=calls - 1), seed=0)

    assert (episode.status, episode.reward, episode.score) == ("truncated", 0.0, 0.0)
    assert replay(episode).matches


@every_env
def test_several_step_together(env_id: str):
    envs = progym.make_vec(env_id, num_envs=3)

    observations, _ = envs.reset(seed=0)
    _, rewards, terminations, _, _ = envs.step(("garbage", "garbage", "garbage"))

    assert len(observations) == len(set(observations)) == 3
    assert list(rewards) == [-1.0] * 3
    assert all(terminations)
    envs.close()


@every_env
def test_an_example_is_found_by_its_id_whatever_the_seed(env_id: str):
    env = make(env_id)
    name = env.examples.ids[-1]

    episodes = [play(env, seed=seed, options={"example_id": name}) for seed in (0, 1)]

    assert {episode.example_id for episode in episodes} == {name}
    assert episodes[0].calls == episodes[1].calls


@every_env
def test_splits_share_no_example_and_have_fingerprints_of_their_own(env_id: str):
    envs = [make(env_id, split=split) for split in SPLITS]

    shown = [
        {str(play(e, "", options={"example_id": n}).calls[0].inputs) for n in spread(e)}
        for e in envs
    ]

    assert len({env.fingerprint for env in envs}) == len(SPLITS)
    assert sum(map(len, shown)) == len(set.union(*shown))


@every_env
def test_another_world_seed_gives_other_examples_under_another_fingerprint(env_id: str):
    ours, secret = make(env_id, split="test"), make(env_id, split="test", world_seed=12345)

    first = [play(env, "", options={"example_id": env.examples.ids[0]}) for env in (ours, secret)]

    assert first[0].fingerprint != first[1].fingerprint
    assert first[0].calls[0].inputs != first[1].calls[0].inputs


@every_env
@pytest.mark.parametrize(
    "kwargs",
    [
        {"split": "tets"},
        {"data": "no/such/folder"},
        {"data": ""},
        {"render_mode": "human"},
        {"size": 0},
        {"size": 1e3},
        {"size": np.int64(3)},
        {"size": True},
        {"world_seed": 1.0},
        {"world_seed": "one"},
        {"max_calls": "three"},
        {"max_tokens": -1},
        {"failure_reward": float("nan")},
        {"failure_reward": "low"},
    ],
    ids=str,
)
def test_wrong_arguments_raise_our_own_errors(env_id: str, kwargs: dict[str, Any]):
    with pytest.raises(ProgymError):
        make(env_id, **kwargs)


@every_env
def test_environments_of_equal_arguments_share_their_examples(env_id: str):
    assert make(env_id, world_seed=1).examples is make(env_id, world_seed=1).examples


@every_env
@pytest.mark.parametrize("options", [{"example": "x"}, {"example_id": "no such"}, {"answers": 3}])
def test_wrong_reset_options_raise_our_own_errors(env_id: str, options: dict[str, Any]):
    with pytest.raises(ProgymError):
        make(env_id).reset(options=options)


@every_env
def test_it_is_made_by_gymnasium_under_either_name(env_id: str):
    for name in (env_id, f"progym:{env_id}"):
        assert isinstance(gymnasium.make(name).unwrapped, ProgramEnv)
