"""Policies on disk: they come back as they were, with their adapter, or say what is wrong."""

import pytest

from progym.agents.policy import Policy, load_policy, save_policy
from progym.envs.errors import BadData, DataUnavailable
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
