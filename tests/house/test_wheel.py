"""The wheel holds what git tracks, and runs from a folder that has never seen the checkout."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOW_ORIGIN = "\nimport progym\nprint('from', progym.__file__)\n"


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    install = ("-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target")
    run(sys.executable, *install, str(folder), str(wheel))
    return folder


def test_the_wheel_holds_the_tracked_files_and_no_others(wheel: Path) -> None:
    tracked = set(run("git", "ls-files", "progym").splitlines())
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("progym/")}

    assert packed - tracked == set(), "in the wheel, but not tracked by git"
    assert tracked - packed == set(), "tracked by git, but not in the wheel"


def test_the_wheel_adds_nothing_beside_the_package(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert tops == {"progym", f"progym-{version('progym')}.dist-info"}


def test_the_readme_example_runs_from_the_installed_wheel(
    installed: Path, tmp_path: Path, readme_example: str
) -> None:
    script = tmp_path / "example.py"
    script.write_text(readme_example + SHOW_ORIGIN, "utf-8")

    printed = run(sys.executable, str(script), cwd=tmp_path, PYTHONPATH=str(installed))

    assert f"from {installed}" in printed
