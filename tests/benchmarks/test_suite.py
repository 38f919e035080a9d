"""Suites: what a file says, and what is refused."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest

from progym.benchmarks.cells import cells_of, pick_examples
from progym.benchmarks.estimate import dry_run
from progym.benchmarks.suite import (
    _EVALUATION,
    _SUITE,
    _TASK,
    Evaluation,
    Suite,
    SuiteTask,
    load_suite,
    read_suite,
    suite_names,
)
from progym.envs.errors import BadData, BadValue, DataUnavailable, UnknownName

TEXT = """
name = "mine"
model = "gold"
strategies = ["vanilla", "po->mmgrpo"]
seeds = [0, 7]
[evaluation]
examples = 5
[stages.po]
max_demos = 1
[[tasks]]
name = "banking"
env = "Banking77-v0"
[[tasks]]
name = "papillon"
env = "PAPILLON-v0"
evaluation = { examples = 3 }
stages.po = { candidates = 4 }
"""


def suite_of(text: str) -> Suite:
    return read_suite(tomllib.loads(text))


def plan_first(text: str) -> None:
    suite = suite_of(text)
    suite.plan(suite.tasks[0], "po")


@pytest.mark.parametrize("name", suite_names())
def test_every_suite_that_ships_plans_all_its_cells(name: str):
    suite = load_suite(name)
    assert suite.name == name
    for task in suite.tasks:
        for strategy in suite.strategies:
            suite.plan(task, strategy)


def test_the_demo_has_three_tasks_four_strategies_and_three_seeds():
    suite = load_suite("demo")
    assert len(cells_of(suite)) == 36
    assert suite.strategies == ("vanilla", "po", "mmgrpo", "po -> mmgrpo")


def test_a_tasks_own_settings_go_over_the_suites():
    suite = suite_of(TEXT)
    po = suite.plan(suite.task("papillon"), "po").stages[0].config
    assert (po.max_demos, po.candidates) == (1, 4)
    assert [task.evaluation.examples for task in suite.tasks] == [5, 3]


def test_strategies_are_spelt_one_way():
    assert suite_of(TEXT).strategies == ("vanilla", "po -> mmgrpo")


@pytest.mark.parametrize(
    ("wrong", "right", "nearest"),
    [
        ("seeds =", "seads =", "'seeds'"),
        ("examples = 5", "exampels = 5", "'examples'"),
        ("max_demos", "max_demo", "'max_demos'"),
        ("[stages.po]", "[stages.pox]", "'po'"),
        ("po->mmgrpo", "po->mmgrp", "'mmgrpo'"),
        ('env = "B', 'kwarg = 1\nenv = "B', "'kwargs'"),
    ],
)
def test_a_key_that_does_not_exist_is_refused_with_the_nearest(wrong, right, nearest):
    with pytest.raises(UnknownName, match=f"Did you mean {nearest}"):
        plan_first(TEXT.replace(wrong, right))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("[0, 7]", "[0, 0]"),
        ("[0, 7]", "[]"),
        ('"papillon"', '"banking"'),
        ('"papillon"', '"../up"'),
        ("examples = 5", "examples = 0"),
        ('env = "B', 'kwargs = { split = "val" }\nenv = "B'),
    ],
)
def test_values_that_make_no_grid_are_refused(wrong: str, right: str):
    with pytest.raises(BadValue):
        suite_of(TEXT.replace(wrong, right))


@pytest.mark.parametrize(
    ("right", "wrong", "takes"),
    [
        ("[0, 7]", "3", "'seeds' takes a list of whole numbers, got 3"),
        ("[0, 7]", '"abc"', "'seeds' takes a list of whole numbers, got 'abc'"),
        ("[0, 7]", "[true]", "'seeds' takes a list of whole numbers"),
        ('"mine"', "5", "'name' takes a text, got 5"),
        ("examples = 5", 'examples = "5"', "'examples' takes a whole number, got '5'"),
        ("examples = 5", "temperature = true", "'temperature' takes a number"),
        ('"Banking77-v0"', "7", "key of a task 'env' takes a text"),
        ("evaluation = { examples = 3 }", "evaluation = 3", "'evaluation' takes a table, got 3"),
        ("[stages.po]", "[stages]", "'stages' takes a table of tables"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_what_is_taken(right, wrong, takes):
    with pytest.raises(BadData, match=takes):
        suite_of(TEXT.replace(right, wrong))


def test_every_setting_of_an_evaluation_can_be_set():
    assert {field.name for field in fields(Evaluation)} == _EVALUATION.keys()
    assert {field.name for field in fields(SuiteTask)} == _TASK.keys()
    assert {field.name for field in fields(Suite)} | {"evaluation", "stages"} == _SUITE.keys()


def test_a_missing_key_is_named():
    with pytest.raises(BadData, match="'model'"):
        suite_of(TEXT.replace("model", "description"))


def test_a_suite_of_your_own_is_read_by_its_path(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    assert load_suite(str(path)) == suite_of(TEXT)
    with pytest.raises(DataUnavailable, match="demo"):
        load_suite(str(tmp_path / "other.toml"))
    for torn in (b"name = ", b"name = 'caf\xe9'"):
        path.write_bytes(torn)
        with pytest.raises(BadData, match="not TOML"):
            load_suite(str(path))


def test_an_unknown_suite_names_those_that_ship():
    with pytest.raises(UnknownName, match="Did you mean 'demo'"):
        load_suite("demmo")


def test_every_value_but_the_description_changes_the_digest():
    suite = suite_of(TEXT)
    assert replace(suite, description="Other words.").digest == suite.digest
    changes = {
        "name": "yours",
        "version": 2,
        "model": "garbage",
        "strategies": ("vanilla",),
        "seeds": (0, 8),
        "tasks": suite.tasks[:1],
    }
    assert {field.name for field in fields(Suite)} == {*changes, "description"}
    for name, value in changes.items():
        assert replace(suite, **{name: value}).digest != suite.digest


def test_every_setting_of_a_task_changes_the_digest():
    suite = suite_of(TEXT)
    task = suite.tasks[0]
    changes = {
        "name": "other",
        "env": "HoVer4Hop-v0",
        "kwargs": {"world_seed": 1},
        "evaluation": replace(task.evaluation, temperature=0.5),
        "stages": {},
    }
    assert {field.name for field in fields(SuiteTask)} == set(changes)
    for name, value in changes.items():
        other = replace(suite, tasks=(replace(task, **{name: value}), suite.tasks[1]))
        assert other.digest != suite.digest


def test_examples_are_the_same_for_all_seeds_and_differ_between_tasks():
    suite = suite_of(TEXT.replace("examples = 3", "examples = 5"))
    ids = tuple(f"test-{i}" for i in range(100))
    banking, papillon = (pick_examples(suite, task, ids) for task in suite.tasks)
    assert banking == pick_examples(suite, suite.tasks[0], ids)
    assert len(set(banking)) == 5
    assert banking != papillon
    assert pick_examples(suite, suite.tasks[0], ids[:4]) == ids[:4]


def test_a_dry_run_counts_shared_stages_once():
    text = TEXT.replace('["vanilla", "po->mmgrpo"]', '["vanilla", "po", "po -> mmgrpo"]')
    small = "[stages.mmgrpo]\nmax_steps = 2\nexamples_per_step = 3\nnum_generations = 4\n"
    suite = suite_of(text.replace("[stages.po]", f"{small}[stages.po]"))
    estimate = dry_run(suite)
    po = suite.plan(suite.tasks[0], "po").stages[0].config.rollouts
    evaluated = 2 * 3 * (5 + 3)  # seeds, strategies, examples of both tasks
    assert estimate.cells == 12
    assert estimate.stage_runs == 2 * 2 * 2
    assert estimate.rollouts == 2 * 2 * (po + 2 * 3 * 4) + evaluated
    assert estimate.tokens > estimate.rollouts
