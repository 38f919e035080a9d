"""Policies on disk: they come back as they were, with their adapter, or say what is wrong.

Also what a policy is run on (tasks) and how files are written.
"""

import gymnasium
import pytest

from progym.agents.identity import identify_policy
from progym.agents.policy import Policy, load_policy, save_policy
from progym.agents.stage import Task
from progym.agents.storage import write_atomic
from progym.envs.errors import BadData, BadValue, DataUnavailable, RecordingFailed
from progym.envs.prompts import Demo, ModulePrompt, PromptSet

PROMPTS = PromptSet(
    {
        "word": ModulePrompt(
            "Write a wörd.", (Demo({"hint": "a", "list": ("x", "y")}, {"word": "b"}),)
        )
    }
)


def test_a_policy_comes_back_as_it_was(tmp_path):
    saved = save_policy(Policy("smollm2", PROMPTS), tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert loaded == saved == Policy("smollm2", PROMPTS)


def test_the_adapter_moves_along(tmp_path):
    adapter = tmp_path / "elsewhere"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    save_policy(Policy("tiny", PROMPTS, adapter), tmp_path / "policy")
    (tmp_path / "policy").rename(tmp_path / "moved")
    loaded = load_policy(tmp_path / "moved")
    assert loaded.adapter is not None
    assert loaded.adapter == tmp_path / "moved" / "adapter"
    assert (loaded.adapter / "adapter_model.safetensors").read_bytes() == b"weights"


def test_saving_a_policy_where_it_lies_keeps_its_adapter(tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "file").write_text("kept")
    save_policy(Policy("tiny", PROMPTS, tmp_path / "adapter"), tmp_path)
    assert (tmp_path / "adapter" / "file").read_text() == "kept"


def test_a_folder_without_a_policy_says_so(tmp_path):
    with pytest.raises(DataUnavailable, match=r"has no policy\.json"):
        load_policy(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"model": "tiny"}', "\udcff"])
def test_a_malformed_policy_is_refused_by_file(tmp_path, text):
    save_policy(Policy(), tmp_path)
    (tmp_path / "policy.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadData, match=r"policy\.json"):
        load_policy(tmp_path)


def test_a_model_folder_below_home_is_identified_by_its_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_text("one")
    before = identify_policy(Policy("~/model"))
    weights.write_text("two")
    assert identify_policy(Policy("~/model")) != before


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingFailed, match=r"Could not write .*policy\.json"):
        write_atomic(tmp_path / "file" / "policy.json", "{}")


def test_a_task_of_a_module_that_is_not_there_says_so():
    with pytest.raises(BadValue, match="no_such_module can't be imported"):
        Task("no_such_module:Task-v0").make("train")


def test_an_environment_without_splits_is_no_task():
    gymnasium.register("Splitless-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv")
    try:
        with pytest.raises(BadValue, match="takes no `split`"):
            Task("Splitless-v0").make("train")
    finally:
        gymnasium.registry.pop("Splitless-v0")
