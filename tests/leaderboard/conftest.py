"""A bench run in a moment, its bundle, and the means to damage it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # stages are imported by module name

import board_world

from progym.benchmarks import evaluation
from progym.benchmarks.cells import cells_of
from progym.benchmarks.export import to_json
from progym.benchmarks.results import summarize
from progym.benchmarks.run_folder import open_run
from progym.benchmarks.suite import Suite
from progym.leaderboard.container import read_container, write_container
from progym.leaderboard.packing import pack
from progym.leaderboard.verification import Verification, verify

EPISODES = "runs/toy/po/seed-1/episodes.jsonl"
RUN = "runs/toy/po/seed-1/run.json"
PROGRAM = "runs/toy/po/seed-1/program.json"


def make_run(folder: Path, suite: Suite) -> Path:
    """Compute a run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "load_model", lambda policy: board_world.ToyModel())
        with open_run(suite, folder, resume=False, workers=1):
            for cell in cells_of(suite):
                evaluation.run_cell(
                    suite, cell, folder, report=lambda *_: None, known=board_world.STAGES
                )
    return folder


@pytest.fixture(scope="session")
def suite() -> Suite:
    return board_world.make_suite()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, suite: Suite) -> Path:
    return make_run(tmp_path_factory.mktemp("board") / "run", suite)


@pytest.fixture(scope="session")
def results(run: Path) -> dict[str, Any]:
    return json.loads(json.dumps(to_json(summarize(run))))


@pytest.fixture(scope="session")
def golden(run: Path) -> Path:
    path = run.parent / "golden.zip"
    pack(run, path, entrant="Golden Toys")
    return path


class Forger:
    """A bundle's files, to be changed; what is listed of them is made to fit again."""

    def __init__(self, path: Path, suite: Suite) -> None:
        self.path, self.suite = path, suite
        self.files, wrong = read_container(path.read_bytes())
        assert wrong == []

    def document(self, file: str, change: Callable[[dict[str, Any]], Any]) -> None:
        values = json.loads(self.files[file])
        change(values)
        self.files[file] = json.dumps(values, ensure_ascii=False).encode() + b"\n"

    def line(self, number: int, change: Callable[[dict[str, Any]], Any], file=EPISODES) -> None:
        lines = self.files[file].splitlines(keepends=True)
        values = json.loads(lines[number - 1])
        change(values)
        lines[number - 1] = json.dumps(values, ensure_ascii=False).encode() + b"\n"
        self.files[file] = b"".join(lines)

    def lines(self, change: Callable[[list[bytes]], list[bytes]], file=EPISODES) -> None:
        self.files[file] = b"".join(change(self.files[file].splitlines(keepends=True)))

    def relist(self) -> None:
        def change(manifest: dict[str, Any]) -> None:
            for listed in manifest["files"]:
                content = self.files.get(listed["path"], b"")
                listed["bytes"] = len(content)
                listed["lines"] = content.count(b"\n")
                listed["sha256"] = hashlib.sha256(content).hexdigest()

        self.document("manifest.json", change)

    def write(self) -> Path:
        self.path.write_bytes(write_container(self.files))
        return self.path

    def verify(self) -> Verification:
        self.relist()
        return verify(self.write(), suites=[self.suite])


@pytest.fixture
def forger(golden: Path, suite: Suite, tmp_path: Path) -> Forger:
    copy = tmp_path / "bundle.zip"
    copy.write_bytes(golden.read_bytes())
    return Forger(copy, suite)
