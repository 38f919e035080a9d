"""Strategies: how they are written, what is shared, what decides a stage's outcome."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from toy_world import ENV, STAGES

from progym.agents.identity import StageIdentity, identify_policy
from progym.agents.notation import split_strategy
from progym.agents.policy import Policy
from progym.agents.stage import Stage, Task
from progym.agents.strategy import plan_strategy, run_strategy
from progym.envs.errors import BadData, BadValue, UnknownName
from progym.envs.prompts import ModulePrompt, PromptSet


def silent(what: str, done: int, total: int) -> None:
    pass


def run(text: str, folder: Path, **settings: Any):
    strategy = plan_strategy(text, {"po": settings}, known=STAGES)
    return run_strategy(
        strategy, Policy("garbage"), Task(ENV), seed=0, folder=folder, report=silent
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("vanilla", ()),
        ("po", ("po",)),
        ("po->mmgrpo", ("po", "mmgrpo")),
        (" po ->  mmgrpo -> po ", ("po", "mmgrpo", "po")),
    ],
)
def test_a_strategy_is_stages_between_arrows(text: str, names: tuple[str, ...]):
    assert split_strategy(text, STAGES) == names


def test_what_is_no_strategy_is_refused():
    with pytest.raises(UnknownName, match="Did you mean 'mmgrpo'"):
        split_strategy("po -> mmgrpoo", STAGES)
    with pytest.raises(UnknownName):
        split_strategy("po -> ", STAGES)
    with pytest.raises(BadValue, match="stands alone"):
        split_strategy("vanilla -> po", STAGES)


def test_an_unknown_setting_is_refused_with_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'rollouts'"):
        plan_strategy("po", {"po": {"rollout": 3}}, known=STAGES)


def test_vanilla_runs_nothing(tmp_path: Path):
    assert run("vanilla", tmp_path / "stages") == []
    assert not (tmp_path / "stages").exists()


def test_each_stage_begins_with_the_policy_the_one_before_ended_with(tmp_path: Path):
    first, second = run("po -> mmgrpo", tmp_path)
    assert first.result.policy.model == "gold"
    assert (second.folder / "policy" / "policy.json").is_file()
    assert first.identity != second.identity


def test_a_finished_stage_is_shared_and_not_run_again(tmp_path: Path):
    alone = run("po", tmp_path)[0]
    composed = run("po -> mmgrpo", tmp_path)[0]
    assert composed == alone
    assert (alone.folder / "work" / "runs.txt").read_text() == "run\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_stage_that_was_killed_is_run_again_in_its_own_folder(tmp_path: Path):
    with pytest.raises(ValueError, match="toys break"):
        run("po", tmp_path, misbehaviour="raise")
    (folder,) = tmp_path.iterdir()
    assert not (folder / "result.json").exists()
    with pytest.raises(ValueError, match="toys break"):
        run("po", tmp_path, misbehaviour="raise")
    assert (folder / "work" / "runs.txt").read_text() == "run\nrun\n"


def test_a_torn_result_is_named(tmp_path: Path):
    folder = run("po", tmp_path)[0].folder
    (folder / "result.json").write_text('{"cost": {"rollouts": 1}}')
    with pytest.raises(BadData, match=r"result\.json"):
        run("po", tmp_path)


IDENTITY = StageIdentity(
    env_id="Toy-v0",
    env_kwargs={"size": 8},
    fingerprints={"train": "a", "val": "b"},
    policy="p",
    stage="po",
    config={"rollouts": 5},
    seed=0,
    versions={"numpy": "2"},
)
CHANGES: dict[str, Any] = {
    "env_id": "Toy-v1",
    "env_kwargs": {"size": 9},
    "fingerprints": {"train": "a", "val": "c"},
    "policy": "q",
    "stage": "mmgrpo",
    "config": {"rollouts": 6},
    "seed": 1,
    "versions": {"numpy": "3"},
}


@pytest.mark.parametrize("name", [field.name for field in fields(StageIdentity)])
def test_every_field_of_a_stages_identity_changes_it(name: str):
    assert replace(IDENTITY, **{name: CHANGES[name]}).digest != IDENTITY.digest


def test_every_input_of_a_stage_is_known_to_decide_its_outcome_or_not_to():
    inputs = set(inspect.signature(Stage.run).parameters) - {"self"}
    decide = {"policy", "task", "seed"}
    do_not = {"folder", "report"}  # where it is written, and who watches
    assert inputs == decide | do_not
    assert {field.name for field in fields(Task)} == {"env_id", "kwargs"}
    policy = {"model", "prompts", "adapter", "adapters", "models"}
    assert {field.name for field in fields(Policy)} == policy


def test_defaults_are_part_of_the_identity(tmp_path: Path):
    run("po", tmp_path)
    text = next(tmp_path.iterdir()).joinpath("identity.json").read_text()
    assert '"rollouts": 5' in text


def test_a_policys_identity_is_its_content(tmp_path: Path):
    adapter, copy, other = (tmp_path / name for name in ("adapter", "copy", "other"))
    for folder, content in ((adapter, "weights"), (copy, "weights"), (other, "others")):
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_text(content)
    prompts = PromptSet({"speak": ModulePrompt("Speak up.")})
    policy = Policy("tiny", prompts, adapter)
    same = identify_policy(policy)
    assert identify_policy(replace(policy, adapter=copy)) == same
    changed = [
        replace(policy, adapter=other),
        replace(policy, adapter=None),
        replace(policy, adapters={"speak": copy}),
        replace(policy, adapters={"speak": other}),
        replace(policy, adapters={"listen": copy}),
        replace(policy, models={"speak": "smollm2"}),
        replace(policy, prompts=PromptSet()),
        replace(policy, model="smollm2"),
        replace(policy, model=str(copy)),
    ]
    assert len({same, *map(identify_policy, changed)}) == 10


def test_a_model_folders_weights_are_part_of_the_identity(tmp_path: Path):
    (tmp_path / "model.safetensors").write_text("one")
    before = identify_policy(Policy(str(tmp_path)))
    (tmp_path / "model.safetensors").write_text("two")
    assert identify_policy(Policy(str(tmp_path))) != before
