"""A run that was stopped goes on and ends as one that never was; the best adapter is kept."""

from typing import Any

import pytest
from letters import records, train, weights

from progym.agents.grpo.exploring import Explorer
from progym.envs.errors import BadData, TrainingDiverged

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

RUN: dict[str, Any] = {
    "max_steps": 5,
    "max_completion_length": 4,
    "beta": 0.1,
    "num_iterations": 2,
    "watch": {"save_every": 1, "eval_every": 2, "eval_examples": 2, "record_every": 1},
}


class Killed(BaseException):
    """Nothing catches this, as nothing catches a signal."""


def stop_at(monkeypatch, step, random_lm, folder, **run):
    """Train until the rollouts of a step."""
    draw = Explorer.train

    def killed(explorer, number):
        if number == step:
            raise Killed
        return draw(explorer, number)

    with monkeypatch.context() as patch:
        patch.setattr(Explorer, "train", killed)
        with pytest.raises(Killed):
            train(random_lm, folder, **run)


def timeless(lines):
    """Records without their times."""
    return [{name: value for name, value in line.items() if "time" not in name} for line in lines]


def outcome(folder, result):
    curve = [(point.step, point.score, point.split, point.rollouts) for point in result.curve]
    return weights(folder), curve, result.cost.rollouts, timeless(records(folder))


@pytest.fixture(scope="module")
def whole(random_lm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return outcome(folder, train(random_lm, folder, **RUN))


@pytest.mark.parametrize("step", [0, 1, 3, 4])
def test_mistake_12_a_stopped_run_goes_on_to_the_same_adapter(
    random_lm, tmp_path, monkeypatch, whole, step
):
    stop_at(monkeypatch, step, random_lm, tmp_path, **RUN)
    seen = []
    draw = Explorer.train
    monkeypatch.setattr(Explorer, "train", lambda e, n: (seen.append(n), draw(e, n))[1])
    result = train(random_lm, tmp_path, **RUN)
    assert seen == list(range(step, 5))
    assert outcome(tmp_path, result) == whole
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_second_stage_that_was_stopped_keeps_the_reference_it_began_with(
    random_lm, tmp_path, monkeypatch
):
    policy = train(random_lm, tmp_path / "first", max_steps=2, max_completion_length=4).policy
    more: dict[str, Any] = {**RUN, "policy": policy, "beta": 0.5}
    train(random_lm, tmp_path / "whole", **more)
    stop_at(monkeypatch, 3, random_lm, tmp_path / "again", **more)
    train(random_lm, tmp_path / "again", **more)
    assert weights(tmp_path / "again") == weights(tmp_path / "whole")


def test_a_corrupt_checkpoint_is_named(random_lm, tmp_path, monkeypatch):
    stop_at(monkeypatch, 2, random_lm, tmp_path, **RUN)
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(BadData, match=r"checkpoint\.pt: not a checkpoint"):
        train(random_lm, tmp_path, **RUN)


def scores(monkeypatch, *values):
    """Have evaluations find these scores, one after the other."""
    left = iter(values)
    monkeypatch.setattr(Explorer, "validate", lambda *_: next(left))


def test_mistake_12_the_best_adapter_is_the_one_that_is_kept(random_lm, tmp_path, monkeypatch):
    watch = {"eval_every": 1}
    with monkeypatch.context() as patch:
        scores(patch, 0.1, 0.9, 0.2, 0.9)
        train(random_lm, tmp_path / "best", max_steps=3, watch=watch)
    train(random_lm, tmp_path / "one", max_steps=1)
    assert weights(tmp_path / "best") == weights(tmp_path / "one")
    kept = [line["best"] for line in records(tmp_path / "best") if line["split"] == "val"]
    assert kept == [0, 1, 1, 1]


def test_the_last_adapter_is_kept_if_that_is_asked_for(random_lm, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        scores(patch, 0.9, 0.1)
        train(random_lm, tmp_path / "a", max_steps=1, watch={"eval_every": 1, "keep_best": False})
    train(random_lm, tmp_path / "b", max_steps=1)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_a_run_that_no_longer_gets_better_stops(random_lm, tmp_path, monkeypatch):
    scores(monkeypatch, 0.1, 0.5, 0.4, 0.5)
    result = train(random_lm, tmp_path, max_steps=9, watch={"eval_every": 1, "patience": 2})
    assert [line["step"] for line in records(tmp_path) if line["split"] == "train"] == [0, 1, 2]
    assert len([point for point in result.curve if point.split == "train"]) == 3


def test_an_exploding_loss_stops_the_run_and_what_was_kept_stays(random_lm, tmp_path):
    watch = {"save_every": 1, "max_loss": 1e-12}
    with pytest.raises(TrainingDiverged, match="loss of step 0"):
        train(random_lm, tmp_path, beta=0.5, num_iterations=2, watch=watch)
    assert "error" in records(tmp_path)[-1]
    assert not (tmp_path / "adapter").exists()
