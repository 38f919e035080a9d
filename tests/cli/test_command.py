"""The command line as a newcomer meets it: help, results, one-line errors, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from progym.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `progym ARGUMENTS` in this process; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, typed: str | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["progym", *arguments])
        monkeypatch.setenv("COLUMNS", "160")
        if typed is not None:
            lines = iter(typed.splitlines())
            monkeypatch.setattr("builtins.input", lambda *_: next(lines))
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


VERBS = ("envs", "play", "eval", "optimize", "bench", "replay", "board", "data")


def test_help_names_every_verb(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f" {verb} " in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(run: Run, verb: str) -> None:
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert "Usage: progym" in out


def test_envs_lists_the_environments_for_a_program(run: Run) -> None:
    code, out, _ = run("envs", "--json")
    ids = {row["id"]: row for row in json.loads(out)}
    assert code == 0
    assert set(ids["HoVer4Hop-v0"]["modules"]) == {"generate_query", "append_notes"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("eval", "HoVer4Hops-v0", "--model", "gold"), "Did you mean: `HoVer4Hop`"),
        (("eval", "HoVer4Hop-v0", "--model", "gold", "--split", "tset"), "Did you mean 'test'?"),
        (("eval", "HoVer4Hop-v0", "--model", "golden"), "gold"),
        (("eval", "HoVer4Hop-v0", "--model", "gold", "-e", "docs"), "NAME=VALUE"),
        (("eval", "HoVer4Hop-v0", "-e", "docs_per_hops=5"), "Did you mean 'docs_per_hop'?"),
        (("eval", "Banking77-v0", "--data", "no-such-folder", "--model", "gold"), "no-such-folder"),
        (("replay", "no-such-file.jsonl"), "no-such-file.jsonl"),
        (("optimize", "Banking77-v0", "po -> grpo", "--out", "x"), "Did you mean 'mmgrpo'?"),
        (("optimize", "Banking77-v0", "po", "--out", "x", "--set", "po.rollout=1"), "rollouts"),
        (("bench", "run", "dmeo", "--out", "x"), "Did you mean 'demo'?"),
        (("bench", "show", "no-such-run"), "no-such-run"),
    ],
)
def test_a_mistake_ends_in_one_line_and_exit_code_2(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not list(Path().iterdir())


def test_eval_scores_records_and_replays(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "episodes.jsonl"
    code, out, _ = run(
        "eval", "HoVer4Hop-v0", "--model", "gold", "--episodes", "3", "--out", str(file), "--json"
    )
    assert (code, json.loads(out)["score"]) == (0, 1.0)
    code, out, _ = run("replay", str(file))
    assert code == 0
    assert "3 of 3 episodes replay identically" in out


def test_eval_does_not_mix_its_episodes_with_others(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "episodes.jsonl"
    file.write_text("mine\n")
    code, _, err = run("eval", "Banking77-v0", "--model", "gold", "--out", str(file))
    assert (code, file.read_text()) == (2, "mine\n")
    assert "holds something already" in err


def test_a_file_in_a_folders_place_is_one_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    evaluate = ("eval", "Banking77-v0", "--model", "gold", "--episodes", "1")
    for arguments in (
        (*evaluate, "--out", "README.md/x.jsonl"),
        ("bench", "run", "smoke", "--out", "README.md"),
        ("board", "build", "--out", "README.md"),
    ):
        code, _, err = run(*arguments)
        assert (code, "README.md" in err, "Traceback" in err) == (2, True, False)


def test_eval_without_scipy_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.delitem(sys.modules, "progym.benchmarks.intervals", raising=False)
    code, _, err = run("eval", "Banking77-v0", "--model", "gold")
    assert (code, "pip install 'progym[bench]'" in err) == (2, True)
    assert not Path("runs").exists()


def test_replay_says_where_a_changed_completion_drifts(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "episodes.jsonl"
    run("eval", "Banking77-v0", "--model", "gold", "--episodes", "2", "--out", str(file), "--json")
    lines = file.read_text("utf-8").splitlines()
    changed = json.loads(lines[1])
    changed["calls"][0]["completion"] = "Reasoning: none\nLabel: age_limit"
    file.write_text(f"{lines[0]}\n{json.dumps(changed)}\n", "utf-8")
    code, out, _ = run("replay", str(file))
    assert code == 1
    assert "line 2" in out


def test_playing_shows_the_call_the_fields_and_the_reward(run: Run) -> None:
    typed = "Reasoning: no idea\nLabel: age_limit\n\n"
    code, out, _ = run("play", "Banking77-v0", "--example", "train-00000", typed=typed)
    assert code == 0
    assert "Text: " in out
    assert '"label": "age_limit"' in out
    assert "Gold: " in out


def test_a_variant_is_set_by_its_own_name_over_its_stages(run: Run) -> None:
    settings = ("-s", "mmgrpo.max_steps=3", "-s", "mmgrpo.num_generations=4")
    variant = ("-s", "mmgrpo@long.max_steps=10", "--out", "x", "--dry-run", "--json")
    code, out, _ = run("optimize", "HoVer4Hop-v0", "mmgrpo@long", *settings, *variant)
    assert (code, json.loads(out)) == (0, [{"stage": "mmgrpo", "rollouts": 10 * 4 * 4}])


def test_a_setting_of_a_table_is_set_by_its_path(run: Run) -> None:
    settings = ("-s", "mmgrpo.max_steps=3", "-s", "mmgrpo.groups.rollouts=6", "--dry-run", "--json")
    code, out, _ = run("optimize", "HoVer4Hop-v0", "mmgrpo", "--out", "x", *settings)
    assert (code, json.loads(out)) == (0, [{"stage": "mmgrpo", "rollouts": 3 * 4 * 6}])


@pytest.mark.parametrize("second", ["mmgrpo=3", "mmgrpo..r=1", "mmgrpo.", "mmgrpo.max_steps.few=3"])
def test_a_setting_without_a_place_is_refused(run: Run, second: str) -> None:
    settings = ("-s", "mmgrpo.max_steps=3", "-s", second, "--dry-run")
    code, _, err = run("optimize", "HoVer4Hop-v0", "mmgrpo", "--out", "x", *settings)
    assert code == 2
    assert second in err.replace("\n", "")


def test_a_dry_run_says_what_a_suite_would_cost(run: Run) -> None:
    code, out, _ = run("bench", "run", "demo", "--out", "x", "--dry-run", "--json")
    rows = json.loads(out)["rows"]
    assert code == 0
    assert not Path("x").exists()
    assert {row["strategy"] for row in rows} >= {"vanilla", "po", "mmgrpo", "po -> mmgrpo"}
