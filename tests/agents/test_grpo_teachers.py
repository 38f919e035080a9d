"""Teachers draw a part of the rollouts; the student learns from them under its own prompts."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from letters import LETTERS, records, tell, train

from progym.agents.grpo.exploring import Explorer
from progym.agents.policy import Policy, save_policy
from progym.envs.errors import BadData, BadValue, DataUnavailable
from progym.envs.prompts import Demo, ModulePrompt, PromptSet, save_prompts

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

RATIO = "sampling/importance_sampling_ratio/"
PLAIN, LOUD = PromptSet(), PromptSet({"ask": ModulePrompt("ASK LOUDLY.")})
RUN: dict[str, Any] = {"max_steps": 1, "beta": 0.1, "watch": {"record_every": 1}}


@pytest.fixture
def prompts(tmp_path):
    """A function that writes a prompt set and gives its file."""

    def write(prompt_set, name="prompts.json"):
        save_prompts(prompt_set, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def drawn(monkeypatch):
    """The episodes of every step, as they are drawn."""
    steps = []
    draw = Explorer.train
    monkeypatch.setattr(Explorer, "train", lambda e, n: (steps.append(draw(e, n)), steps[-1])[1])
    return steps


def test_student_and_teachers_take_turns_over_an_example_s_runs(
    random_lm, tmp_path, prompts, drawn
):
    plain = train(random_lm, tmp_path / "alone", **RUN)
    alone = drawn.pop()
    result = train(random_lm, tmp_path / "taught", teaching={"teachers": [prompts(LOUD)]}, **RUN)
    [taught] = drawn
    same = [
        a.calls[0].completion == b.calls[0].completion for a, b in zip(alone, taught, strict=True)
    ]
    assert same == [True, False] * 4
    assert result.cost.rollouts == plain.cost.rollouts == 8
    kept = [json.loads(line) for line in (tmp_path / "taught/runs.jsonl").read_text().splitlines()]
    assert [line["drawn_by"] for line in kept] == [0, 1, 0, 1]
    # The curve is the student's own.
    assert result.curve[0].score == pytest.approx(sum(e.score for e in taught[::2]) / 4)


def test_mistake_8_the_student_s_prompt_is_what_is_trained_on(random_lm, tmp_path, prompts, drawn):
    demo = Demo({"query": "x"}, {"answer": "abc"})
    own = PromptSet({"tell": ModulePrompt("Tell all.", (demo,))})
    policy = Policy(str(random_lm), own)
    train(random_lm, tmp_path / "run", policy=policy, teaching={"teachers": [prompts(LOUD)]}, **RUN)
    for episode in drawn[0]:
        for call in episode.calls:
            instruction = "Tell all." if call.module == tell.name else "Ask."
            assert call.prompt[0]["content"].startswith(instruction)
            assert len(call.prompt) == (4 if call.module == tell.name else 2)
            assert len(call.logprobs) == len(call.token_ids)


def test_a_teacher_that_is_the_student_changes_nothing(random_lm, tmp_path, prompts):
    lines = []
    for name, teachers in (("alone", []), ("twin", [prompts(PLAIN)])):
        train(random_lm, tmp_path / name, teaching={"teachers": teachers}, temperature=0.7, **RUN)
        lines.append(records(tmp_path / name)[0])
    alone, twin = lines
    for name in ("loss", "grad_norm", "kl", "entropy"):
        assert twin[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-6), name
    for name in ("min", "mean", "max"):
        assert twin[RATIO + name] == pytest.approx(1, abs=1e-4)
    assert RATIO + "mean" not in alone


def test_tokens_of_a_teacher_weigh_what_the_student_would_have_drawn_them_at(
    random_lm, tmp_path, prompts
):
    train(
        random_lm,
        tmp_path / "run",
        teaching={"teachers": [prompts(LOUD)], "importance_sampling_cap": 1.5},
        **RUN,
    )
    line = records(tmp_path / "run")[0]
    assert 0 < line[RATIO + "min"] < line[RATIO + "mean"] < line[RATIO + "max"] <= 1.5


logits = st.lists(st.floats(-3, 3), min_size=2, max_size=6)


@given(st.data(), logits)
def test_expected_gradients_are_the_student_s(data, own):
    """Over all tokens a teacher may draw, what each is weighed by makes up for how it was drawn."""
    import torch

    from progym.agents.grpo.off_policy import weigh_tokens

    theirs = data.draw(st.lists(st.floats(-3, 3), min_size=len(own), max_size=len(own)))
    values = torch.tensor(
        data.draw(st.lists(st.floats(-1, 1), min_size=len(own), max_size=len(own)))
    )
    student, teacher = (torch.tensor(x).log_softmax(0) for x in (own, theirs))
    advantages, _ = weigh_tokens(
        values,
        student[:, None],
        [[float(logp)] for logp in teacher],
        taught=range(len(own)),
        width=1,
        cap=math.inf,
    )
    taught = (teacher.exp() * advantages[:, 0]).sum()
    assert taught.item() == pytest.approx((student.exp() * values).sum().item(), abs=1e-4)


def test_weights_end_at_the_cap_and_leave_the_student_s_rows_alone():
    import torch

    from progym.agents.grpo.off_policy import weigh_tokens

    student = torch.log(torch.tensor([[0.8, 0.1, 1.0]]))
    drawn = [[math.log(0.2), math.log(0.2)]]
    advantages, found = weigh_tokens(
        torch.tensor([1.0, -2.0]), student, drawn, taught=[1], width=3, cap=3.0
    )
    assert found == pytest.approx([3.0, 0.5])
    assert advantages.flatten().tolist() == pytest.approx([1, 1, 1, -6, -1, -2])


def test_a_policy_of_its_own_teaches_too(random_lm, tmp_path):
    trained = train(random_lm, tmp_path / "first", max_steps=2).policy
    save_policy(trained, tmp_path / "teacher")
    train(random_lm, tmp_path / "run", teaching={"teachers": [tmp_path / "teacher"]}, **RUN)
    assert records(tmp_path / "run")[0][RATIO + "mean"] != pytest.approx(1, abs=1e-3)


def test_another_teacher_makes_another_run(random_lm, tmp_path, prompts):
    train(random_lm, tmp_path / "run", teaching={"teachers": [prompts(PLAIN)]}, **RUN)
    with pytest.raises(BadValue, match="another config"):
        train(random_lm, tmp_path / "run", teaching={"teachers": [prompts(LOUD)]}, **RUN)


def test_what_cannot_teach_is_refused(random_lm, tmp_path, prompts):
    with pytest.raises(DataUnavailable, match="nowhere"):
        train(random_lm, tmp_path, teaching={"teachers": ["nowhere"]})
    with pytest.raises(BadValue, match="list of paths"):
        train(random_lm, tmp_path, teaching={"teachers": "nowhere"})
    with pytest.raises(BadValue, match="more than the 4 teachers"):
        train(random_lm, tmp_path, teaching={"teachers": [prompts(PLAIN)] * 4})
    with pytest.raises(BadValue, match="importance_sampling_cap"):
        train(random_lm, tmp_path, teaching={"importance_sampling_cap": 0})
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({"ask": 3}))
    with pytest.raises(BadData, match="broken"):
        train(random_lm, tmp_path, teaching={"teachers": [broken]})
    save_policy(Policy("gold"), tmp_path / "gold")
    with pytest.raises(BadValue, match="weights are here"):
        train(random_lm, tmp_path / "run", teaching={"teachers": [tmp_path / "gold"]})
    save_policy(Policy("tiny"), tmp_path / "tiny")
    with pytest.raises(BadValue, match="other tokens"):
        train(
            random_lm, tmp_path / "other", task=LETTERS, teaching={"teachers": [tmp_path / "tiny"]}
        )
