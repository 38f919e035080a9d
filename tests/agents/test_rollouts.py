"""What `roll_out` promises: order, determinism, isolation of faults, exact prompts and tokens."""

import threading
from functools import partial
from typing import Any

import gymnasium
import pytest

from progym.agents.model import Sampling
from progym.agents.models.scripted import GoldModel, ScriptedModel
from progym.agents.rollouts import RolloutRequest, requests_for, roll_out
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue, PromptTooLong, ServiceFault
from progym.envs.examples import Examples
from progym.envs.module import Field, Module, ask
from progym.envs.program import Example, Program, Score
from progym.envs.prompts import ModulePrompt, PromptSet
from progym.envs.records import Completion
from progym.envs.text_space import TextSpace

WORD = Module("word", "Write a word.", (Field("hint"),), (Field("word"),))
SAMPLING = Sampling()


def run(hint: str, turns: int):
    words = []
    for _ in range(turns):
        reply = yield WORD(hint=hint)
        words.append(reply["word"])
    if hint == "broken":
        raise RuntimeError("a bug in the program")
    return {"words": words}


def score(example, outcome):
    right = sum(word == example.gold["word"] for word in outcome["words"])
    return Score(right / len(outcome["words"]))


def gold(example, call):
    return {"word": example.gold["word"]}


EXAMPLES = Examples.of(
    [
        Example(f"e{i}", {"hint": hint, "turns": 1 + i % 3}, {"word": f"w{i}"})
        for i, hint in enumerate(["a", "b", "broken", "c", "d"])
    ]
)
REQUESTS = requests_for(EXAMPLES.ids, repeats=4, seed=0)


def make_env(**kwargs: Any) -> ProgramEnv:
    return ProgramEnv(Program((WORD,), run), EXAMPLES, score, gold=gold, **kwargs)


def seeded_word(call, seed):
    return f"Word: w{seed % 5}"


def digests(episodes):
    return [episode.digest for episode in episodes]


@pytest.mark.parametrize("max_in_flight", [1, 3, 256])
def test_same_seed_same_episodes_whatever_is_in_flight(max_in_flight):
    model = ScriptedModel(seeded_word)
    reference = roll_out(make_env, model, PromptSet(), REQUESTS, sampling=SAMPLING)
    episodes = roll_out(
        make_env, model, PromptSet(), REQUESTS, sampling=SAMPLING, max_in_flight=max_in_flight
    )
    assert digests(episodes) == digests(reference)
    assert len({episode.calls[0].completion for episode in episodes}) > 1


def test_episodes_come_in_the_order_of_the_requests():
    episodes = roll_out(make_env, GoldModel(), PromptSet(), REQUESTS, sampling=SAMPLING)
    assert [(e.example_id, e.seed) for e in episodes] == [(r.example_id, r.seed) for r in REQUESTS]


def test_rollouts_of_one_example_draw_their_own_completions():
    episodes = roll_out(
        make_env,
        ScriptedModel(seeded_word),
        PromptSet(),
        requests_for(["e1"], repeats=16, seed=0),
        sampling=SAMPLING,
    )
    words = {call.completion for episode in episodes for call in episode.calls}
    assert len(words) == 5
    assert any(e.calls[0].completion != e.calls[1].completion for e in episodes)


def test_all_pending_calls_join_one_batch():
    sizes = []

    class Counting(ScriptedModel):
        def generate(self, requests, sampling):
            sizes.append(len(requests))
            return super().generate(requests, sampling)

    roll_out(make_env, Counting(seeded_word), PromptSet(), REQUESTS, sampling=SAMPLING)
    assert sizes == [20, 12, 4]  # 1, 2 or 3 turns an example, 4 rollouts each


def test_gold_earns_one_and_a_broken_program_is_a_fault_that_stays_alone():
    episodes = roll_out(make_env, GoldModel(), PromptSet(), REQUESTS, sampling=SAMPLING)
    by_status = {status: [e for e in episodes if e.status == status] for status in ("ok", "fault")}
    assert [e.score for e in by_status["ok"]] == [1.0] * 16
    assert {(e.example_id, e.score) for e in by_status["fault"]} == {("e2", None)}
    assert len(by_status["fault"][0].calls) == 3


def test_calls_are_rendered_with_the_prompt_set():
    prompts = PromptSet({"word": ModulePrompt("Shout a word.")})
    [episode] = roll_out(
        make_env, GoldModel(), prompts, [RolloutRequest("e0", 1)], sampling=SAMPLING
    )
    assert episode.calls[0].prompt[0]["content"].startswith("Shout a word.")


def test_environments_are_used_again():
    made = []

    def counted():
        made.append(make_env())
        return made[-1]

    roll_out(counted, GoldModel(), PromptSet(), REQUESTS, sampling=SAMPLING, max_in_flight=3)
    assert len(made) == 3


def test_progress_counts_every_episode():
    seen = []
    roll_out(
        make_env,
        GoldModel(),
        PromptSet(),
        REQUESTS,
        sampling=SAMPLING,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(i, 20) for i in range(1, 21)]


class DownAfter(ScriptedModel):
    """A model whose server goes down after some batches."""

    def __init__(self, batches: int) -> None:
        super().__init__(seeded_word)
        self.left = batches

    def generate(self, requests, sampling):
        self.left -= 1
        if self.left < 0:
            raise ServiceFault("connection refused")
        return super().generate(requests, sampling)


def test_a_model_that_goes_down_costs_only_the_episodes_that_needed_it():
    episodes = roll_out(make_env, DownAfter(1), PromptSet(), REQUESTS, sampling=SAMPLING)
    assert [e.status for e in episodes if e.example_id in ("e0", "e3")] == ["ok"] * 8
    lost = [e for e in episodes if e.example_id == "e1"]
    assert [(e.status, e.score, len(e.calls)) for e in lost] == [("fault", None, 1)] * 4
    assert "connection refused" in str(lost[0].fault)


class Network(ScriptedModel):
    """Stands for an endpoint: answers two requests at a time, and only both together."""

    concurrency = 2

    def __init__(self) -> None:
        super().__init__(seeded_word)
        self.both = threading.Barrier(2, timeout=5)

    def generate(self, requests, sampling):
        self.both.wait()
        return super().generate(requests, sampling)


def test_episodes_of_a_concurrent_model_overlap_and_equal_the_batched_ones():
    requests = requests_for(["e1", "e4"], repeats=4, seed=0)  # two turns each
    episodes = roll_out(make_env, Network(), PromptSet(), requests, sampling=SAMPLING)
    batched = roll_out(
        make_env, ScriptedModel(seeded_word), PromptSet(), requests, sampling=SAMPLING
    )
    assert digests(episodes) == digests(batched)


class Together:
    """A service on the network that answers only when two ask at once."""

    deterministic = False
    both = threading.Barrier(2, timeout=5)

    def answer(self, **request):
        self.both.wait()
        return "answer"


def ask_run(hint, turns):
    yield ask("judge", hint=hint)
    reply = yield WORD(hint=hint)
    yield ask("judge", hint=hint)
    return {"words": [reply["word"]]}


def test_services_on_the_network_are_waited_for_together():
    make = partial(
        ProgramEnv,
        Program((WORD,), ask_run),
        EXAMPLES,
        score,
        services={"judge": Together()},
        gold=gold,
    )
    requests = requests_for(["e0", "e1"], repeats=1, seed=0)
    episodes = roll_out(make, GoldModel(), PromptSet(), requests, sampling=SAMPLING)
    assert [e.score for e in episodes] == [1.0, 1.0]


def broken_at_once(hint, turns):
    raise RuntimeError("no retriever")
    yield


def test_an_episode_that_fails_before_its_first_call_is_recorded():
    make = partial(ProgramEnv, Program((WORD,), broken_at_once), EXAMPLES, score)
    episodes = roll_out(make, GoldModel(), PromptSet(), REQUESTS, sampling=SAMPLING)
    assert {(e.status, e.calls) for e in episodes} == {("fault", ())}


def test_an_unknown_example_raises():
    with pytest.raises(BadValue, match="Unknown example 'e9'"):
        roll_out(make_env, GoldModel(), PromptSet(), [RolloutRequest("e9", 0)], sampling=SAMPLING)


def test_no_requests_no_episodes():
    assert roll_out(make_env, GoldModel(), PromptSet(), [], sampling=SAMPLING) == []


class Echo(gymnasium.Env[str, str]):
    """A text environment not of ours: two turns, rewards on the way."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = TextSpace()

    def reset(self, *, seed=None, options=None):
        self.turn = 0
        return "say 0", {"step_type": ("say", 0)}

    def step(self, action):
        self.turn += 1
        reward = 0.5 * (action == f"say {self.turn - 1}")
        return f"say {self.turn}", reward, self.turn == 2, False, {"step_type": ("say", self.turn)}


class Moody(Echo):
    """Breaks in the step of one example, or while it begins another; knows whether it is closed."""

    closed = False

    def reset(self, *, seed=None, options=None):
        self.example = (options or {})["example_id"]
        if self.example == "unborn":
            raise ValueError("no such thing")
        return super().reset()

    def step(self, action):
        if self.example == "bad" and self.turn == 1:
            raise KeyError("mood")
        return super().step(action)

    def close(self):
        self.closed = True


class Parrot:
    """Repeats the last message."""

    name = "parrot"

    def generate(self, requests, sampling):
        return [Completion(r.messages[-1]["content"], prompt=r.messages) for r in requests]


def test_any_text_environment_with_step_types_can_be_rolled_out():
    [episode] = roll_out(Echo, Parrot(), PromptSet(), [RolloutRequest("x", 0)], sampling=SAMPLING)
    assert [(c.module, c.occurrence, c.completion) for c in episode.calls] == [
        ("say", 0, "say 0"),
        ("say", 1, "say 1"),
    ]
    assert (episode.status, episode.reward) == ("ok", 1.0)


def test_a_bug_in_an_environment_not_of_ours_costs_its_own_episodes_alone():
    requests = [RolloutRequest(name, 0) for name in ("good", "bad", "unborn", "fine")]
    episodes = roll_out(Moody, Parrot(), PromptSet(), requests, sampling=SAMPLING)
    assert [e.status for e in episodes] == ["ok", "fault", "fault", "ok"]
    assert (episodes[1].fault, len(episodes[1].calls)) == ("KeyError: 'mood'", 2)
    assert (episodes[2].fault, episodes[2].score) == ("ValueError: no such thing", None)


class Interrupted(Parrot):
    def generate(self, requests, sampling):
        raise KeyboardInterrupt


def test_environments_in_flight_are_closed_too():
    made = []

    def make():
        made.append(Moody())
        return made[-1]

    requests = [RolloutRequest("good", seed) for seed in range(3)]
    with pytest.raises(KeyboardInterrupt):
        roll_out(make, Interrupted(), PromptSet(), requests, sampling=SAMPLING)
    assert [env.closed for env in made] == [True] * 3


class Brief(ScriptedModel):
    """A model whose context holds the prompts of occurrences below `room`."""

    def __init__(self, room: int) -> None:
        super().__init__(seeded_word)
        self.room = room

    def generate(self, requests, sampling):
        calls = [request.call for request in requests]
        too_long = [i for i, call in enumerate(calls) if call and call.occurrence >= self.room]
        if too_long:
            raise PromptTooLong("300 tokens", too_long)
        return super().generate(requests, sampling)


def test_a_prompt_that_outgrew_the_model_ends_its_episode_alone():
    requests = requests_for(["e0", "e1", "e3"], repeats=2, seed=0)
    cut = roll_out(make_env, Brief(1), PromptSet(), requests, sampling=SAMPLING)
    whole = roll_out(make_env, Brief(9), PromptSet(), requests, sampling=SAMPLING)
    assert [e.status for e in cut] == ["ok", "ok", "truncated", "truncated", "ok", "ok"]
    assert [(e.score, e.reward, len(e.calls)) for e in cut[2:4]] == [(0, 0, 1)] * 2
    assert all("300 tokens" in str(e.fault) for e in cut[2:4])
    assert digests(cut[:2] + cut[4:]) == digests(whole[:2] + whole[4:])


def test_a_first_prompt_too_long_is_the_callers_mistake_only_where_nothing_was_tuned():
    requests = requests_for(["e0"], repeats=2, seed=0)
    with pytest.raises(PromptTooLong, match="300 tokens"):
        roll_out(make_env, Brief(0), PromptSet(), requests, sampling=SAMPLING)
    tuned = PromptSet({"word": ModulePrompt("Write at length.")})
    episodes = roll_out(make_env, Brief(0), tuned, requests, sampling=SAMPLING)
    assert [(e.status, e.score, e.calls) for e in episodes] == [("truncated", 0.0, ())] * 2
