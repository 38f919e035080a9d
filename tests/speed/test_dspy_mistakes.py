"""Where dspy's group forming errs: what it does and what ours does, by the mistakes' numbers."""

from dataclasses import replace

import dspy
import dspy.teleprompt.grpo as dspy_grpo
import numpy as np
import pytest
from dspy_groups import Groups, Job, TrainedLM, as_sent, form, rendered

from progym.agents.grpo.config import GroupRules
from progym.agents.grpo.forming import form_groups
from progym.envs.records import CallRecord, Episode, Status

CHAT = dspy.ChatAdapter()
Signature = str | type[dspy.Signature]
FIELDS = {"ask": ("word", "query"), "tell": ("query", "answer")}


class Talk(dspy.Module):
    """Asks, then tells."""

    def __init__(
        self, ask: Signature = "word -> query", tell: Signature = "query -> answer"
    ) -> None:
        super().__init__()
        self.ask, self.tell = dspy.Predict(ask), dspy.Predict(tell)


def run(name: str, *modules: str, reward: float = 0.5, status: Status = "ok") -> Episode:
    """A run of example "x"; of an unreadable one the last completion is none of its module's."""
    calls: list[CallRecord] = []
    for place, module in enumerate(modules):
        given, made = FIELDS[module]
        fields, inputs = {made: f"{name} {module} {place}"}, {given: name}
        calls.append(CallRecord(module, modules[:place].count(module), (), "", fields))
        calls[-1] = replace(calls[-1], inputs=inputs)
    if status == "parse_failure":
        calls[-1] = replace(calls[-1], completion=f"{name} Well...", fields={}, error="no line")
    episode = Episode("e", {}, "", "train", "x", 0, tuple(calls), (), status, reward, None)
    return rendered(Talk(), episode, CHAT)


def theirs(*episodes: Episode, padding: str = "truncate") -> Groups:
    return form(Talk(), episodes, size=len(episodes), adapter=CHAT, padding=padding)[0][0]


def ours(*episodes: Episode, padding: str = "truncate") -> Groups:
    rules = GroupRules(padding=padding)
    rng = np.random.default_rng(0)
    return as_sent(form_groups(episodes, rng, size=len(episodes), rules=rules).groups)


def names(groups: Groups) -> list[list[str]]:
    """Whose completions stand in each group; the name begins the line below the field's."""
    found = [[member["completion"]["content"] for member in group] for group in groups]
    return sorted([text.splitlines()[1].split()[0] for text in group] for group in found)


@pytest.mark.parametrize("padding", ["truncate", "fill", "ragged"])
def test_mistake_1_one_run_without_a_module_takes_the_module_from_all(padding: str) -> None:
    runs = [run("a", "ask", "tell"), run("b", "ask", "tell"), run("c", "ask")]
    assert names(theirs(*runs, padding=padding)) == [["a", "b", "c"]]
    assert names(ours(*runs, padding=padding)) == [["a", "b"], ["a", "b", "c"]]


def test_mistake_2_ragged_can_not_take_runs_of_different_lengths() -> None:
    runs = [run("a", "ask", "tell", "tell"), run("b", "ask", "tell")]
    with pytest.raises(IndexError):
        theirs(*runs, padding="ragged")
    assert names(ours(*runs, padding="ragged")) == [["a", "b"], ["a", "b"]]


def test_mistake_3_a_failure_reward_of_zero_becomes_the_worst() -> None:
    runs = [run("a", "ask"), run("b", "ask", status="parse_failure", reward=0.0)]
    assert [member["reward"] for member in theirs(*runs)[0]] == [0.5, -1.0]
    assert [member["reward"] for member in ours(*runs)[0]] == [0.5, 0.0]


def test_mistake_6_completions_are_written_anew_from_their_fields() -> None:
    drawn = "Sure! [[ ## query ## ]]\na ask 0"
    wordy = run("a", "ask")
    wordy = replace(wordy, calls=(replace(wordy.calls[0], completion=drawn),))
    sent = theirs(wordy, run("b", "ask"))[0][0]
    assert sent["completion"]["content"] == "[[ ## query ## ]]\na ask 0\n\n[[ ## completed ## ]]\n"
    assert ours(wordy, run("b", "ask"))[0][0] == {
        **sent,
        "completion": {"role": "assistant", "content": drawn},
    }


def test_mistake_8_two_modules_of_one_signature_are_one() -> None:
    same = dspy.make_signature("query -> answer")
    runs = [run(name, "ask", "tell") for name in "ab"]
    alike = [
        replace(x, calls=(replace(x.calls[1], module="ask"), *x.calls[1:]))  # the same fields twice
        for x in runs
    ]
    with pytest.raises(AssertionError):
        form(Talk(same, same), alike, size=2, adapter=CHAT)
    other = dspy.make_signature("query -> answer", "Tell.")
    steps, _ = form(Talk(same, other), alike, size=2, adapter=CHAT)
    assert names(steps[0]) == [["a", "b"], ["a", "b"]]
    assert names(ours(*alike)) == [["a", "b"], ["a", "b"]]


def test_mistake_9_short_groups_are_padded_from_the_front() -> None:
    runs = [run("a", "ask"), run("b", "ask"), run("c", "ask", status="fault")]
    assert names(theirs(*runs)) == [["a", "b", "a"]]
    assert names(ours(*runs)) == [["a", "b"]]


def test_mistake_10_groups_of_the_step_before_are_trained_on_instead_of_fresh_ones() -> None:
    old, new = ([run(f"{age}{i}", "ask", "tell") for i in "12"] for age in ("old", "new"))
    steps, _ = form(Talk(), old, new, size=2, adapter=CHAT, wanted=1)
    assert [names(groups) for groups in steps] == [[["old1", "old2"]]] * 2
    assert names(ours(*new)) == [["new1", "new2"]] * 2


def test_mistake_13_a_module_that_another_model_answers_is_refused() -> None:
    program = Talk()
    program.set_lm(TrainedLM(Job()))
    program.ask.lm = TrainedLM(Job())
    with pytest.raises(AssertionError, match="multiple LMs"):
        dspy_grpo.GRPO(exclude_demos=True).compile(program, [dspy.Example(word="w")])
    runs = [run(name, "ask", "tell") for name in "ab"]
    formed = form_groups(runs, np.random.default_rng(0), size=2, frozen={"ask"})
    assert [str(group.step_type) for group in formed.groups] == ["tell:0"]
