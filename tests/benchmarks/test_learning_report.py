"""The page of an mmGRPO run shows what its records hold, and nothing that a model wrote as HTML."""

import json

import pytest

from progym.benchmarks.learning_report import write_learning_report
from progym.envs.errors import BadData, DataUnavailable

METRICS = {
    "reward": 0.5,
    "reward_std": 0.25,
    "entropy": 0.125,
    "grad_norm": 2.0,
    "groups/mean_size": 8.0,
}


def update(step, **more):
    return {
        "update": step + 1, "loss": 0.0, "step": step, "split": "train", "score": 0.1 * step,
        "rollouts": 8, "warnings": [], "modules": {"ask": METRICS, "tell": METRICS},
        "step_types": {"ask:0": METRICS, "tell:0": METRICS, "tell:10": METRICS, "tell:9": METRICS},
        **more,
    }  # fmt: skip


def run(**more):
    call = {
        "module": "ask", "occurrence": 0, "prompt": [{"role": "user", "content": "<b>Hi"}],
        "completion": "<script>alert(1)</script>", "error": "no 'Query:' line", "finish": "length",
        "progress": 0.5, "tokens": 7, "advantages": [1.5, -0.5],
    }  # fmt: skip
    return {
        "step": 0, "run": 3, "drawn_by": 0, "example_id": "train-1", "status": "parse_failure",
        "reward": -1.0, "score": 0.0, "metrics": {}, "fault": None, "calls": [call], **more,
    }  # fmt: skip


def write(folder, name, *lines):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def page(folder):
    write_learning_report(folder, folder / "page.html")
    return (folder / "page.html").read_text()


def test_curves_warnings_and_step_types_are_shown(tmp_path):
    write(tmp_path, "metrics.jsonl", update(0), update(1, warnings=["Mind <this>."]))
    text = page(tmp_path)
    assert "2 steps, 2 updates, 16 rollouts" in text
    assert "Mind &lt;this&gt;." in text
    assert text.count("<svg") == 4  # score, reward, entropy, gradient: what there is
    assert text.index("tell:9") < text.index("tell:10")
    assert "None were kept" in text


def test_episodes_are_shown_as_text(tmp_path):
    write(tmp_path, "metrics.jsonl", update(0))
    write(tmp_path, "runs.jsonl", run(), run(run=4, drawn_by=2))
    text = page(tmp_path)
    assert "<script>" not in text
    assert "Run 3: reward" in text
    assert "Run 4, drawn by teacher 2: reward" in text
    assert "&lt;script&gt;alert(1)" in text
    assert "+1.50" in text
    assert "-0.50" in text
    assert "cut short" in text


def test_the_page_says_why_a_run_stopped_and_what_was_best(tmp_path):
    score = {"step": 4, "split": "val", "score": 0.5, "best": 2}
    error = {"error": "The loss is nan", "split": "train", "step": 1, "warnings": []}
    write(tmp_path, "metrics.jsonl", update(0), score, error)
    text = page(tmp_path)
    assert "The loss is nan" in text
    assert "the best score on val came after step 2" in text


def test_the_run_below_a_folder_is_found_if_it_is_the_only_one(tmp_path):
    write(tmp_path / "a", "metrics.jsonl", update(0))
    assert "1 step, 1 update" in page(tmp_path)
    write(tmp_path / "b", "metrics.jsonl", update(0))
    with pytest.raises(DataUnavailable, match=r"holds 2 runs of mmgrpo\. Name one: .*a, .*b"):
        page(tmp_path)


def test_a_folder_without_a_run_says_so(tmp_path):
    with pytest.raises(DataUnavailable, match="holds no run of mmgrpo"):
        page(tmp_path)
    write(tmp_path, "metrics.jsonl")
    with pytest.raises(DataUnavailable, match="not made its first update"):
        page(tmp_path)


def test_a_torn_line_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(update(0)) + '\n{"step"')
    with pytest.raises(BadData, match=r"metrics\.jsonl:2: not JSON"):
        page(tmp_path)
