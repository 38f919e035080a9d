"""What public implementations get wrong in a whole run; each mistake of theirs fails a test here.

Those of grouping, padding, rewards, rows and checkpoints have theirs beside what they are about, by
the same numbers.
"""

import pytest
from letters import LETTERS, config, load_fluent, train

from progym.agents.grpo import learning
from progym.agents.grpo.exploring import Explorer
from progym.agents.grpo.scoring import score_rows
from progym.agents.models import load_trainable
from progym.agents.policy import Policy

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


def test_mistake_4_an_unreadable_call_is_trained_on_with_the_prompt_of_its_own_module(random_lm):
    policy = Policy(str(random_lm))
    model = load_half_fluent(policy)
    for episode in Explorer(LETTERS, policy, model, config=config(), seed=0).train(0):
        asked, failed = episode.calls
        assert (failed.module, failed.error is None) == ("tell", False)
        assert failed.inputs == {"query": asked.fields["query"][:4]}
        shown = "".join(message["content"] for message in failed.prompt)
        assert "Tell." in shown
        assert "Ask." not in shown
        assert model.encode(failed.prompt) == list(failed.prompt_ids)


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
        scores = score_rows(lm.model, pairs, width=6, temperature=1.0, config=lm.model.config)
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
