"""`progym board` as a user runs it: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bundle_forger import EPISODES, Forger
from typer.testing import CliRunner, Result

from progym.benchmarks.suite import Suite
from progym.cli import board
from progym.leaderboard.container import write_container


@pytest.fixture
def command(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a verb of `progym board` that knows the toy suite."""
    monkeypatch.setattr(board, "_load_suites", lambda _: [suite])

    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(board.app, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return call


def test_pack_says_what_it_made_and_verify_accepts_it(command: Any, run: Path, tmp_path: Path):
    out = tmp_path / "mine.zip"

    packed = command("pack", run, "--out", out, "--name", "Mine")
    verified = command("verify", out)

    assert packed.exit_code == verified.exit_code == 0
    assert "12 runs, 96 episodes" in packed.stdout
    assert "all 96 episodes re-executed" in verified.stdout


def test_verify_names_file_line_and_reason_of_a_changed_reward(command: Any, forger: Forger):
    forger.line(1, lambda line: line.update(reward=0.9))
    forger.relist()

    result = command("verify", forger.write())

    assert result.exit_code == 1
    assert f"R05 {EPISODES}:1, reward: a reward, score or metric that differs" in result.stdout
    assert "expected 0.5" in result.stdout


def test_verify_as_json_holds_every_field_of_a_finding(command: Any, forger: Forger):
    forger.lines(lambda lines: lines[1:])
    forger.relist()

    result = command("verify", forger.write(), "--json")

    finding = json.loads(result.stdout)["findings"][0]
    assert (result.exit_code, finding["code"], finding["file"]) == (1, "M07", EPISODES)
    assert finding["expected"] == "test-0, repeat 0"


def test_a_bundle_that_is_not_there_exits_with_2(command: Any, tmp_path: Path):
    result = command("verify", tmp_path / "none.zip")

    assert result.exit_code == 2
    assert "could not be checked" in result.stdout


def test_no_escape_sequence_of_a_bundle_reaches_the_terminal(command: Any, tmp_path: Path):
    bundle = tmp_path / "a\x1b[31m.zip"
    bundle.write_bytes(write_container({"manifest.json": b"{}\n", "\x1b]0;mine\x07": b"x"}))

    refused, missing = command("verify", bundle), command("verify", tmp_path / "\x1b[31m")

    assert "\\x1b]0;mine" in refused.stdout
    assert "\x1b" not in refused.stdout + missing.stdout


def test_build_writes_the_pages_and_exits_with_1_if_a_bundle_is_refused(
    command: Any, golden: Path, tmp_path: Path
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.zip").write_bytes(golden.read_bytes())
    good = command("build", "--submissions", tmp_path / "in", "--out", tmp_path / "site")
    (tmp_path / "in" / "junk.zip").write_bytes(b"junk")
    mixed = command("build", "--submissions", tmp_path / "in", "--out", tmp_path / "site")

    assert (good.exit_code, mixed.exit_code) == (0, 1)
    assert "1 of 2 bundles accepted" in mixed.stdout
    assert (tmp_path / "site" / "index.html").is_file()
