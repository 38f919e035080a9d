"""What public implementations get wrong in a whole run; each mistake of theirs fails a test here.

Those of grouping, padding, rewards, rows and checkpoints have theirs beside what they are about, by
the same numbers.
"""

from collections import Counter
from functools import partial

import numpy as np
import pytest
from letters import LETTERS, load_fluent, train

from progym.agents.grpo import learning
from progym.agents.grpo.batch import make_rows
from progym.agents.grpo.exploring import Explorer
from progym.agents.grpo.forming import form_groups
from progym.agents.grpo.scoring import score_rows
from progym.agents.model import Sampling
from progym.agents.models import load_trainable
from progym.agents.policy import Policy
from progym.agents.rollouts import requests_for, roll_out
from progym.envs.prompts import Demo, ModulePrompt, PromptSet

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def load_half_fluent(policy):
    """A model whose completions of `ask` are readable, and of `tell` as random as they come."""
    model, fluent = load_trainable(policy), load_fluent(policy)

    def generate(requests, sampling):
        pairs = zip(
            requests,
            fluent.generate(requests, sampling),
            model.generate(requests, sampling),
            strict=True,
        )
        return [readable if request.module == "ask" else raw for request, readable, raw in pairs]

    fluent_model = load_trainable(policy)
    fluent_model.generate = generate  # pyright: ignore[reportAttributeAccessIssue]
    return fluent_model


def roll(policy, model):
    """Four runs of each of two examples."""
    requests = requests_for(("train-0", "train-1"), repeats=4, seed=0)
    sampling = Sampling(1.0, 6)
    return roll_out(
        lambda: LETTERS.make("train"), model, policy.prompts, requests, sampling=sampling
    )


def test_mistake_4_an_unreadable_call_is_trained_on_with_the_prompt_of_its_own_module(random_lm):
    policy = Policy(str(random_lm))
    model = load_half_fluent(policy)
    episodes = roll(policy, model)
    for episode in episodes:
        asked, failed = episode.calls
        assert (failed.module, failed.error is None) == ("tell", False)
        assert failed.inputs == {"query": asked.fields["query"][:4]}
        shown = "".join(message["content"] for message in failed.prompt)
        assert "Tell." in shown
        assert "Ask." not in shown
        assert model.encode(failed.prompt) == list(failed.prompt_ids)
    rows = make_rows(form_groups(episodes, np.random.default_rng(0), size=4).groups)
    trained = Counter((row.prompt_ids, row.token_ids) for row in rows)
    assert trained == Counter((c.prompt_ids, c.token_ids) for e in episodes for c in e.calls)


def test_mistake_5_prompts_that_were_optimized_are_trained_on_as_they_were_sampled(random_lm):
    demos = tuple(Demo({"word": word}, {"query": word.upper()}) for word in ("abc", "de"))
    prompts = PromptSet({"ask": ModulePrompt("Ask in capitals.", demos)})
    policy = Policy(str(random_lm), prompts=prompts)
    model = load_fluent(policy)
    calls = [call for episode in roll(policy, model) for call in episode.calls]
    rows = [(call.prompt_ids, call.token_ids) for call in calls]
    scores = score_rows(model.model, rows, width=6, temperature=1.0)
    for call, scored in zip(calls, scores.logprobs.tolist(), strict=True):
        assert model.encode(call.prompt) == list(call.prompt_ids)
        assert scored[: len(call.logprobs)] == pytest.approx(call.logprobs, abs=1e-3)
    asked = calls[0].prompt[:-1]
    assert [message["role"] for message in asked] == ["system"] + ["user", "assistant"] * 2


def test_mistake_6_ids_are_the_sampled_ones_not_those_of_the_text(random_lm):
    policy = Policy(str(random_lm))
    model = load_fluent(policy)
    calls = [call for episode in roll(policy, model) for call in episode.calls]
    tokenize = partial(model.tokenizer.encode, add_special_tokens=False)
    assert any(tokenize(call.completion) != list(call.token_ids) for call in calls)
    assert all(len(call.token_ids) == len(call.logprobs) for call in calls)


def test_mistake_10_a_step_trains_on_its_own_rollouts_drawn_by_the_weights_it_changes(
    random_lm, tmp_path, monkeypatch
):
    lm, drawn, steps = load_fluent(Policy(str(random_lm))), [], []
    draw, make = Explorer.train, learning.make_batch

    def remember(explorer, step):
        drawn.append(draw(explorer, step))
        return drawn[-1]

    def compare(rows, *, beta):
        calls = {c.token_ids: c for episode in drawn[-1] for c in episode.calls}
        assert {row.token_ids for row in rows} <= calls.keys()
        pairs = [(row.prompt_ids, row.token_ids) for row in rows]
        scores = score_rows(lm.model, pairs, width=6, temperature=1.0)
        for row, scored in zip(rows, scores.logprobs.tolist(), strict=True):
            sampled = calls[row.token_ids].logprobs
            assert scored[: len(sampled)] == pytest.approx(sampled, abs=1e-3)
        steps.append(len(rows))
        return make(rows, beta=beta)

    monkeypatch.setattr(Explorer, "train", remember)
    monkeypatch.setattr(learning, "make_batch", compare)
    monkeypatch.setattr("letters.load_fluent", lambda policy: lm)
    train(random_lm, tmp_path, max_steps=3, temperature=1.0)
    assert len(steps) == len(drawn) == 3
