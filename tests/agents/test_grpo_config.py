"""The config refuses what it does not know and says what is near."""

import pytest

from progym.agents.grpo.config import GrpoConfig, Lora, Teaching, Watch, config_from
from progym.agents.grpo.padding import ragged
from progym.agents.grpo.rules import GroupRules
from progym.agents.strategy import plan_strategy
from progym.envs.errors import BadValue, UnknownName


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'learning_rate'"):
        config_from({"learning_rat": 1e-4})


def test_tables_are_read_and_checked():
    config = config_from({"groups": {"padding": "truncate"}, "lora": {"r": 4}})
    assert (config.groups.padding, config.lora.r) == ("truncate", 4)
    with pytest.raises(UnknownName, match="setting of lora 'rank'"):
        config_from({"lora": {"rank": 4}})


def test_an_unknown_strategy_names_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'truncate'"):
        GroupRules(padding="trunc")


def test_a_strategy_may_be_a_function():
    assert GroupRules(padding=ragged).padding is ragged


@pytest.mark.parametrize(
    "values",
    [
        {"max_steps": 0},
        {"num_generations": 1},
        {"learning_rate": 0.0},
        {"temperature": 0.0},
        {"beta": -0.1},
        {"watch": {"eval_every": -1}},
        {"watch": {"eval_examples": 0}},
        {"watch": {"patience": 3}},
        {"groups": {"rollouts": 1}},
        {"lora": 3},
    ],
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(BadValue, match=next(iter(values))):
        config_from(values)


@pytest.mark.parametrize(
    "values", [{"loss_type": "gpro"}, {"groups": {"scale_rewards": "batches"}}]
)
def test_choices_are_checked(values):
    with pytest.raises(UnknownName, match="Did you mean"):
        config_from(values)


def test_a_config_has_at_most_15_settings():
    kinds = (GrpoConfig, GroupRules, Teaching, Lora, Watch)
    assert all(len(kind.__dataclass_fields__) <= 15 for kind in kinds)


def test_settings_of_a_stage_that_does_not_exist_are_refused():
    with pytest.raises(UnknownName, match=r"Unknown stage 'mmgpro'.* Did you mean 'mmgrpo'"):
        plan_strategy("mmgrpo", {"mmgpro": {"max_steps": 2}})


@pytest.mark.parametrize(("eval_every", "evaluations"), [(0, 0), (1, 6), (2, 4), (5, 2), (9, 2)])
def test_a_plan_counts_every_evaluation(eval_every, evaluations):
    values = {"max_steps": 5, "examples_per_step": 1, "num_generations": 2}
    watch = {"eval_every": eval_every}
    [stage] = plan_strategy("mmgrpo", {"mmgrpo": {**values, "watch": watch}}).stages
    assert stage.rollouts == 10 + evaluations * 100
