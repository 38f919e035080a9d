"""The stage `po`: what it proposes, how it searches, and that a killed search goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from progym.agents.model import GenerationRequest, LanguageModel, Sampling
from progym.agents.policy import Policy
from progym.agents.prompting.candidates import TIPS, propose, solved_calls
from progym.agents.prompting.config import PoConfig
from progym.agents.prompting.halving import halve
from progym.agents.prompting.stage import PromptOptimization
from progym.agents.stage import StageResult, Task
from progym.envs.errors import BadData, BadValue, RecordingFailed, ServiceFault
from progym.envs.module import Field, Module
from progym.envs.prompts import ModulePrompt, PromptSet
from progym.envs.records import CallRecord, Completion, Episode
from progym.envs.rendering import render_reply

MODULE = Module("solve", "Solve it.", (Field("question"),), (Field("answer"),))
BANKING = Task("Banking77-v0")
SMALL = PoConfig(
    rollouts=150,
    bootstrap_examples=12,
    candidates=8,
    max_demos=2,
    rung_examples=4,
    final_examples=10,
)


class DemoReader:
    """Right where the prompt has demos, or on every third seed; never otherwise."""

    name = "demo-reader"

    def __init__(self) -> None:
        self.generated = 0

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling
    ) -> list[Completion]:
        self.generated += len(requests)
        return [self._answer(request) for request in requests]

    def _answer(self, request: GenerationRequest) -> Completion:
        assert request.call is not None
        assert request.gold is not None
        fields = dict(request.gold())
        if len(request.messages) == 2 and request.seed % 3:
            fields["label"] = "card_arrival" if fields["label"] != "card_arrival" else "age_limit"
        return Completion(render_reply(request.call.module, fields), prompt=request.messages)


def episode(example_id: str, score: float, answer: str) -> Episode:
    call = CallRecord("solve", 0, (), "", {"answer": answer}, inputs={"question": example_id})
    return Episode("", {}, "", "train", example_id, 0, (call,), (), "ok", score, score)


def search(
    folder: Path, model: LanguageModel, policy: Policy | None = None, task: Task = BANKING
) -> StageResult:
    stage = PromptOptimization(SMALL, load=lambda _: model)
    result = stage.run(policy or Policy(), task, seed=0, folder=folder, report=lambda *_: None)
    assert result.cost.rollouts <= SMALL.rollouts
    return result


def optimize(folder: Path, model: LanguageModel) -> PromptSet:
    return search(folder, model).policy.prompts


def test_demos_come_from_the_best_episode_of_an_example_that_beats_the_mean() -> None:
    episodes = [episode("a", 1.0, "good"), episode("a", 0.2, "bad"), episode("b", 0.3, "poor")]
    solved = solved_calls(episodes)
    assert [call.demo.outputs["answer"] for call in solved["solve"]] == ["good"]


def test_the_starting_set_is_the_first_candidate() -> None:
    start = PromptSet({"solve": ModulePrompt("Mine.")})
    first = next(iter(propose([MODULE], start, {}, max_demos=2, rng=np.random.default_rng(0))))
    assert first is start


def test_demos_of_a_candidate_are_of_different_examples() -> None:
    episodes = [episode(name, 1.0, "x") for name in "abc"] + [episode("d", 0.0, "y")]
    solved = solved_calls(episodes)
    rng = np.random.default_rng(0)
    for prompts in islice(propose([MODULE], PromptSet(), solved, max_demos=3, rng=rng), 1, 30):
        questions = [demo.inputs["question"] for demo in prompts.modules["solve"].demos]
        assert len(set(questions)) == len(questions) <= 3


def test_halving_finds_the_best_and_never_overspends() -> None:
    candidates = [PromptSet({"m": ModulePrompt(str(worth))}) for worth in range(8)]
    spent: list[int] = []

    def evaluate(prompts: PromptSet, ids: Sequence[str]) -> Sequence[float]:
        spent.append(len(ids))
        return [float(prompts.modules["m"].instruction)] * len(ids)

    ids = [str(i) for i in range(100)]
    ranked = halve(candidates, ids, evaluate, first_rung=4, budget=70)
    assert ranked[0].prompts is candidates[7]
    assert sum(spent) <= 70


def test_candidates_of_a_rung_see_the_same_examples() -> None:
    seen: dict[str, list[str]] = {}

    def evaluate(prompts: PromptSet, ids: Sequence[str]) -> Sequence[float]:
        seen.setdefault(prompts.digest, []).extend(ids)
        return [0.5] * len(ids)

    candidates = [PromptSet({"m": ModulePrompt(text)}) for text in "ab"]
    halve(candidates, list("uvwxyz"), evaluate, first_rung=3, budget=100)
    first, second = seen.values()
    assert first == second


def test_a_budget_that_can_not_cover_the_comparison_is_refused() -> None:
    with pytest.raises(BadValue, match="need 384 or more"):
        PoConfig(rollouts=383)
    PoConfig(rollouts=384)


def test_a_train_split_with_nothing_left_to_search_on_is_refused(tmp_path: Path) -> None:
    task = Task("Banking77-v0", {"size": 15})
    with pytest.raises(BadValue, match=r"has 15 examples; .* need 16"):
        search(tmp_path, DemoReader(), task=task)


def test_the_search_finds_that_demos_help(tmp_path: Path) -> None:
    prompts = optimize(tmp_path, DemoReader())
    assert prompts.modules["classify"].demos


def test_the_same_seed_finds_the_same_prompts(tmp_path: Path) -> None:
    assert optimize(tmp_path / "a", DemoReader()) == optimize(tmp_path / "b", DemoReader())


def test_a_search_that_was_killed_goes_on_from_its_ledger(tmp_path: Path) -> None:
    first, again = DemoReader(), DemoReader()
    whole = search(tmp_path, first)
    ledger = tmp_path / "evaluations.jsonl"
    lines = ledger.read_text("utf-8").splitlines(keepends=True)
    ledger.write_text("".join(lines[:3]) + lines[3][:20], "utf-8")
    resumed = search(tmp_path, again)
    assert resumed.policy == whole.policy
    assert resumed.cost.rollouts == whole.cost.rollouts
    kept = sum(len(json.loads(line)["scores"]) for line in lines[:3])
    assert again.generated == first.generated - SMALL.bootstrap_examples - kept


def test_a_whole_ledger_is_read_and_left_alone(tmp_path: Path) -> None:
    whole, again = search(tmp_path, DemoReader()), DemoReader()
    before = (tmp_path / "evaluations.jsonl").stat()
    assert search(tmp_path, again) == whole
    assert again.generated == 0
    assert (tmp_path / "evaluations.jsonl").stat().st_mtime_ns == before.st_mtime_ns


def test_a_ledger_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "evaluations.jsonl").symlink_to(tmp_path / "absent" / "file")
    with pytest.raises(RecordingFailed, match=r"Could not write .*evaluations\.jsonl"):
        search(tmp_path, DemoReader())


def test_a_torn_bootstrap_is_named(tmp_path: Path) -> None:
    (tmp_path / "bootstrap.json").write_text('{"episodes": []}', "utf-8")
    with pytest.raises(BadData, match=r"bootstrap\.json"):
        search(tmp_path, DemoReader())


def test_a_folder_with_another_policys_scores_is_refused(tmp_path: Path) -> None:
    search(tmp_path, DemoReader())
    with pytest.raises(BadValue, match="another config, policy, task or seed"):
        search(tmp_path, DemoReader(), Policy("gold"))


class Unhelped(DemoReader):
    """Right with the starting prompt alone."""

    def _answer(self, request: GenerationRequest) -> Completion:
        assert request.call is not None
        assert request.gold is not None
        head = request.messages[0]["content"]
        plain = len(request.messages) == 2 and not any(tip in head for tip in TIPS)
        fields = {name: value if plain else "" for name, value in request.gold().items()}
        return Completion(render_reply(request.call.module, fields), prompt=request.messages)


def test_the_curve_ends_with_the_score_of_the_prompts_that_were_chosen(tmp_path: Path) -> None:
    result = search(tmp_path, Unhelped())
    assert result.policy.prompts == PromptSet()
    assert [point.score for point in result.curve[1:]] == [1.0] * (len(result.curve) - 1)
    assert len(result.curve) > 2


class DownOnce(DemoReader):
    """An endpoint that takes one request at a time and fails the first."""

    concurrency = 1

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling
    ) -> list[Completion]:
        completions = super().generate(requests, sampling)
        if self.generated == 1:
            raise ServiceFault("no answer")
        return completions


def test_a_fault_while_bootstrapping_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    with pytest.raises(ServiceFault, match="1 of 12 rollouts of the search failed"):
        search(tmp_path, DownOnce())
    assert not (tmp_path / "bootstrap.json").exists()


def test_no_tip_of_the_search_stands_in_the_tiny_lms_pretraining_text() -> None:
    from progym.agents.tiny.documents import CAREFUL_TIPS, LAZY_TIPS

    assert not set(TIPS) & {*CAREFUL_TIPS, *LAZY_TIPS}
