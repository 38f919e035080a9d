"""A program's environment has Gymnasium's manners: seeds, pickles, vectors, resets, wrappers."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics

from progym.envs.errors import BadValue, ProgramFault, UnknownName
from progym.envs.module import ask
from progym.envs.program import Program
from progym.envs.run import Limits


def test_the_same_seed_gives_the_same_episode(toy):
    one, two, other = (toy.play(toy.make(), seed=seed) for seed in (0, 0, 7))

    assert one.digest == two.digest
    assert one == two
    assert one.digest != other.digest


def test_seed_0_is_a_seed_like_any_other(toy):
    drawn = {tuple(toy.play(toy.make(), seed=0).example_id for _ in range(3)) for _ in range(3)}

    assert len(drawn) == 1
    assert len(set(drawn.pop())) == 1


def test_the_wall_time_is_no_part_of_an_episode(toy):
    episode = toy.play(toy.make())

    assert replace(episode, seconds=99.0) == episode
    assert replace(episode, seconds=99.0).digest == episode.digest


def test_an_environment_pickles_and_plays_the_same_episode(toy):
    env = toy.make()
    expected = toy.play(env)

    assert toy.play(pickle.loads(pickle.dumps(env))).digest == expected.digest


def test_a_pickle_taken_in_mid_episode_wants_a_reset(toy):
    env = toy.make()
    env.reset(seed=0)
    env.step(toy.gold_reply(env))

    copy = pickle.loads(pickle.dumps(env))

    with pytest.raises(ResetNeeded):
        copy.step("Query: q")
    assert toy.play(copy).status == "ok"
    assert env.pending_call.occurrence == 1


def test_a_step_after_the_end_or_before_a_reset_says_so(toy):
    env = toy.make()
    with pytest.raises(ResetNeeded, match="reset"):
        env.step("x")
    toy.play(env)
    with pytest.raises(ResetNeeded, match="reset"):
        env.step("x")


def search_first(look_up, question) -> Any:
    found = yield ask("library", query=question, k=1)
    yield look_up(question=question, notes=found)
    return {"verdict": "yes", "notes": found}


def test_an_episode_that_ends_in_reset_ends_once_more_in_the_next_step(toy):
    env = toy.make(
        Program((toy.look_up,), partial(search_first, toy.look_up)),
        services={"library": toy.Library(fails=(1,))},
        limits=Limits(service_retries=0),
    )
    record = env.reset(seed=0)[1]["record"]

    _, reward, terminated, truncated, info = env.step("")

    assert (reward, terminated, truncated) == (0.0, False, True)
    assert (info["record"], record.status) == (record, "fault")
    with pytest.raises(ResetNeeded):
        env.step("")


def test_one_outage_leaves_the_other_environments_of_a_vector_alone(toy):
    def make(fails):
        return lambda: toy.make(
            Program((toy.look_up,), partial(search_first, toy.look_up)),
            services={"library": toy.Library(fails=fails)},
            limits=Limits(service_retries=0),
        )

    envs = SyncVectorEnv([make((1,)), make(())])
    envs.reset(seed=0)
    _, _, terminated, truncated, _ = envs.step(("Query: x", "Query: x"))

    assert (list(terminated), list(truncated)) == ([False, True], [True, False])
    observations, *_ = envs.step(("", ""))
    assert all("Question: question" in text for text in observations)


def test_a_reset_that_raises_leaves_no_episode_behind(toy):
    env = toy.make()
    env.reset(seed=0)

    with pytest.raises(BadValue):
        env.reset(seed=1, options={"example_id": "q9"})
    with pytest.raises(ResetNeeded):
        env.step("Query: q")


def test_an_abandoned_episode_wants_a_reset(toy):
    env = toy.make()
    env.reset(seed=0)
    env.abandon("the model is down")

    with pytest.raises(ResetNeeded):
        env.step("")


def test_wrong_options_are_named(toy):
    env = toy.make()

    with pytest.raises(UnknownName, match="Did you mean 'example_id'"):
        env.reset(options={"example": "q1"})
    with pytest.raises(BadValue, match=r"'q9'.*5 examples, 'q0' to 'q4'"):
        env.reset(options={"example_id": "q9"})
    with pytest.raises(BadValue, match="asks"):
        env.reset(options={"answers": 3})
    with pytest.raises(UnknownName, match="ansi"):
        toy.make(render_mode="human")


def test_gold_fields_without_a_gold_policy_say_so(toy):
    env = toy.make(gold=None)
    env.reset(seed=0)

    with pytest.raises(BadValue, match="gold"):
        env.gold_fields()


def test_a_call_with_the_wrong_inputs_names_them(toy):
    with pytest.raises(ProgramFault, match=r"takes \['notes', 'question'\], not \['claim'\]"):
        toy.look_up(claim="x")


def test_episode_statistics_come_from_gymnasiums_wrapper(toy):
    env = RecordEpisodeStatistics(toy.make())
    _, info = env.reset(seed=0)
    while "record" not in info:
        info = env.step(toy.gold_reply(env.unwrapped))[-1]

    assert (info["episode"]["r"], info["episode"]["l"]) == (1.0, 3)
