"""Policies on disk: they come back as they were, with their adapter, or say what is wrong.

Also what a policy is run on (tasks), what names a run (its settings), and how files are written.
"""

import contextlib
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import gymnasium
import pytest
from letters import make_letters

from progym.agents.identity import identify_policy, plain
from progym.agents.policy import Policy, load_policy, save_policy
from progym.agents.stage import Cost, StageResult, Task
from progym.agents.storage import read_json, write_atomic, write_json
from progym.agents.strategy import StageEntry, plan_strategy, run_strategy
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


def test_a_program_without_splits_is_no_task():
    def make_env(level=False):
        return make_letters(level=level)

    gymnasium.register("Splitless-v0", entry_point=cast("Any", make_env))
    try:
        with pytest.raises(BadValue, match="takes no `split`"):
            Task("Splitless-v0").make("train")
    finally:
        gymnasium.registry.pop("Splitless-v0")


def test_a_half_written_adapter_file_is_neither_copied_nor_identified(tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    before = identify_policy(Policy("tiny", PROMPTS, adapter))
    (adapter / "base.json.123.tmp").write_bytes(b"half")
    assert identify_policy(Policy("tiny", PROMPTS, adapter)) == before
    save_policy(Policy("tiny", PROMPTS, adapter), tmp_path / "policy")
    assert len(list((tmp_path / "policy" / "adapter").iterdir())) == 1


def test_a_policy_that_can_not_be_written_says_where(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingFailed, match=r"Could not write .*file"):
        save_policy(Policy(), tmp_path / "file")


def test_text_that_utf_8_can_not_hold_survives_json(tmp_path):
    write_json(tmp_path / "text.json", "half \ud83d")
    assert read_json(tmp_path / "text.json") == "half \ud83d"


def own(tmp_path, monkeypatch, body):
    """A function at the top of a module whose file has `body`."""
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
    path.write_text(f"def rule():\n    {body}\n")
    module = ModuleType("made_up")
    exec(compile(path.read_text(), str(path), "exec"), vars(module))
    monkeypatch.setitem(sys.modules, "made_up", module)
    return plain({"rules": [vars(module)["rule"]]})


def test_a_function_among_settings_counts_by_its_code(tmp_path, monkeypatch):
    one, same, other = (own(tmp_path, monkeypatch, body) for body in ("pass", "pass", "return 1"))
    assert one == same != other
    assert one["rules"][0].startswith("made_up.rule ")


def test_settings_become_json():
    assert plain({"a": (1, Path("x")), "b": {"c": None}}) == {"a": [1, "x"], "b": {"c": None}}


@pytest.mark.parametrize("value", [lambda: 0, Path.exists, len, Policy, object()])
def test_settings_without_a_name_of_their_own_are_refused(value):
    with pytest.raises(BadValue, match="A setting can't be"):
        plain({"rule": value})


@dataclass(frozen=True)
class OnceConfig:
    rule: object = own


class Once:
    """A stage that waits a little for a second one to begin."""

    name = "once"
    runs: list[int] = []  # noqa: RUF012
    both = threading.Barrier(2)

    def __init__(self, config):
        pass

    def run(self, policy, task, *, seed, folder, report):
        self.runs.append(seed)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.both.wait(timeout=1)
        return StageResult(policy, Cost())


def test_a_stage_that_two_strategies_share_is_computed_once_at_a_time(tmp_path):
    entry = StageEntry(f"{__name__}:OnceConfig", f"{__name__}:Once", lambda config: 0)
    strategy = plan_strategy("once", known={"once": entry})
    task = Task("Banking77-v0", {"size": 4})
    found = []

    def run():
        report, policy = (lambda *_: None), Policy("gold")
        found.extend(run_strategy(strategy, policy, task, seed=3, folder=tmp_path, report=report))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Once.runs == [3]
    assert found[0] == found[1]
