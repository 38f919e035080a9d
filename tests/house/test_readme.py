"""What the documents show runs, and the README's tree is the tree."""

import re
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = re.compile(r"(?:^|`)make ((?:[a-z]+ ?)+)", re.MULTILINE)
"""Commands as documents show them: within backticks, or at the beginning of a line."""


def test_code_in_the_documents_runs(
    document_block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    exec(compile(document_block, "<document>", "exec"), {"__name__": "__main__"})


def test_the_readme_example_is_ten_lines_or_so(readme_example: str) -> None:
    assert len(readme_example.splitlines()) <= 15


def test_every_path_in_the_readmes_tree_exists() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    tree = readme.split("<!-- tree -->")[1].split("```")[1]
    paths = [line.split()[0] for line in tree.splitlines() if line.strip()]

    missing = [path for path in paths if not (ROOT / path).exists()]

    assert len(paths) > 10
    assert missing == []


def test_every_target_the_documents_name_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    documents = [(ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md")]
    lists = [targets for text in documents for targets in MAKE.findall(text)]
    named = {target for targets in lists for target in targets.split()}

    missing = [target for target in named if f"\n{target}:" not in makefile]

    assert named >= {"demo", "test", "lint", "types"}
    assert missing == []


def plan(*arguments: str) -> str:
    """What make would do, and does not."""
    command = ["make", "--dry-run", "--always-make", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


def test_the_demo_can_go_to_another_folder_and_the_help_says_so() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True)

    assert "--out runs/demo " in plan("demo")
    assert "--out runs/another " in plan("demo", "DEMO=runs/another")
    assert "DEMO=folder" in shown.stdout


@pytest.mark.slow
def test_a_venv_that_was_left_without_pip_is_mended(tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=False)
    line = next(line for line in plan("setup", f"VENV={tmp_path}").splitlines() if " venv " in line)

    subprocess.run(line, shell=True, check=True)

    subprocess.run([tmp_path / "bin" / "python", "-m", "pip", "--version"], check=True)
