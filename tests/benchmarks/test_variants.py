"""Variants of a stage: what they are set to, what is refused, what they share."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from toy_world import ENV, STAGES, toy_suite

from progym.agents.policy import Policy
from progym.agents.stage import Task
from progym.agents.strategy import plan_strategy, run_strategy
from progym.benchmarks.cell_record import read_cell
from progym.benchmarks.cells import cells_of
from progym.benchmarks.estimate import dry_run
from progym.benchmarks.runner import run_suite
from progym.benchmarks.suite import Suite, load_suite, read_suite
from progym.benchmarks.summary import summarize
from progym.envs.errors import BadValue, UnknownName

TEXT = f"""
name = "mine"
model = "gold"
strategies = ["po@loud", "po  -> mmgrpo@long"]
seeds = [0]
[stages.po]
word = "Please."
rollouts = 7
[stages."po@loud"]
word = "NOW."
[stages."mmgrpo@long"]
rollouts = 20
[[tasks]]
name = "plain"
env = "{ENV}"
[[tasks]]
name = "own"
env = "{ENV}"
stages.po = {{ word = "Kindly.", rollouts = 9 }}
stages."mmgrpo@long" = {{ rollouts = 30 }}
"""


def suite_of(text: str) -> Suite:
    return read_suite(tomllib.loads(text), STAGES)


def configs(task: str, strategy: str, text: str = TEXT) -> list[Any]:
    suite = suite_of(text)
    return [stage.config for stage in suite.plan(suite.task(task), strategy, STAGES).stages]


def test_a_variants_settings_go_over_the_stages_and_a_tasks_over_the_suites():
    (plain,), (own,) = (configs(task, "po@loud") for task in ("plain", "own"))
    assert (plain.word, plain.rollouts) == ("NOW.", 7)
    assert (own.word, own.rollouts) == ("NOW.", 9)


def test_a_variant_stands_inside_a_composition():
    assert suite_of(TEXT).strategies == ("po@loud", "po -> mmgrpo@long")
    first, second = configs("own", "po -> mmgrpo@long")
    assert (first.word, second.rollouts) == ("Kindly.", 30)


@pytest.mark.parametrize(
    ("right", "wrong", "nearest"),
    [
        ('["po@loud"', '["po@lout"', "'po@loud'"),
        ('["po@loud"', '["poo@loud"', "'po'"),
        ('[stages."po@loud"]', '[stages."poo@loud"]', "'po'"),
    ],
)
def test_a_variant_that_does_not_exist_is_refused_with_the_nearest(right, wrong, nearest):
    with pytest.raises(UnknownName, match=f"Did you mean {nearest}"):
        dry_run(suite_of(TEXT.replace(right, wrong)), STAGES)


@pytest.mark.parametrize(
    "name", ["po@", "po@Loud", "po@very loud", "po@a-b", "po@a@b", "vanilla@a"]
)
def test_what_can_be_no_name_of_a_variant_is_refused(name: str):
    with pytest.raises(BadValue, match=r"a-z, 0-9 and '_'|stands alone"):
        plan_strategy(name, known=STAGES)


def run(strategy: str, settings: dict[str, Any], folder: Path):
    plan = plan_strategy(strategy, settings, known=STAGES)
    policy, task = Policy("garbage"), Task(ENV)
    return run_strategy(plan, policy, task, seed=0, folder=folder, report=lambda *_: None)


def test_variants_with_equal_settings_share_one_run(tmp_path: Path):
    settings = {"po": {"word": "Hm."}, "po@same": {"word": "Hm."}, "po@other": {"word": "Ha."}}
    plain, same, other = (run(s, settings, tmp_path) for s in ("po", "po@same", "po@other"))
    assert plain == same
    assert plain[0].folder != other[0].folder
    assert (plain[0].folder / "work" / "runs.txt").read_text() == "run\n"


def with_variants() -> Suite:
    suite = toy_suite()
    stages = {"po": {}, "po@gruff": {"model": "garbage"}, "po@mmgrpo": {}, "mmgrpo@po": {}}
    strategies = ("vanilla", "po", "po@gruff", "po@mmgrpo", "po -> mmgrpo", "po -> mmgrpo@po")
    return replace(suite, strategies=strategies, tasks=(replace(suite.tasks[0], stages=stages),))


def test_a_run_keeps_variants_apart_and_compares_them(tmp_path: Path):
    suite = with_variants()
    assert run_suite(suite, tmp_path / "run", workers=1, known=STAGES).exit_code == 0
    folders = [cell.folder(tmp_path / "run") for cell in cells_of(suite)]
    records = {read_cell(folder / "cell.json").strategy for folder in folders}
    assert records == set(suite.strategies)
    assert len(list((tmp_path / "run" / "stages").iterdir())) == 3  # po, gruff, po and then mmgrpo
    task = summarize(tmp_path / "run", baseline="po").tasks[0]
    gains = [row.gain.estimate.value for row in task.rows if row.gain]
    assert gains == [pytest.approx(-0.75, abs=0.1)] * 2 + [0] * 3


def test_a_dry_run_counts_variants_with_equal_settings_once():
    estimate = dry_run(with_variants(), STAGES)
    assert (estimate.cells, estimate.stage_runs) == (6, 3)
    assert estimate.rollouts == 3 * 5 + 6 * 6 * 2


def flat(config: Any) -> dict[str, Any]:
    values = asdict(config)
    groups = values.pop("groups")
    return {**values, **groups}


def test_the_variants_that_ship_differ_in_one_thing_and_draw_equally_many_rollouts():
    suite = load_suite("variants")
    shape = {"examples_per_step", "max_steps"}  # of a step, so that the rollouts stay the same
    for task in suite.tasks:
        (base,) = suite.plan(task, "mmgrpo").stages
        for strategy in suite.strategies[2:]:
            (stage,) = suite.plan(task, strategy).stages
            one, other = flat(base.config), flat(stage.config)
            assert len({name for name in one if one[name] != other[name]} - shape) == 1
            assert stage.rollouts == pytest.approx(base.rollouts, rel=0.02)
