"""Makes runs in a moment, and changes what their bundles hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import board_world
import pytest

from progym.benchmarks import evaluation, provenance
from progym.benchmarks.cells import cells_of
from progym.benchmarks.run_folder import open_run
from progym.benchmarks.suite import Suite
from progym.leaderboard.container import read_container, write_container
from progym.leaderboard.verification import Verification, verify

EPISODES = "runs/toy/po/seed-1/episodes.jsonl"
RUN = "runs/toy/po/seed-1/run.json"
PROGRAM = "runs/toy/po/seed-1/program.json"


def make_run(folder: Path, suite: Suite) -> Path:
    """Compute a run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "load_model", lambda policy: board_world.ToyModel())
        patch.setattr(provenance, "_accelerator", lambda: "none")  # it would load torch to ask
        with open_run(suite, folder, resume=False, workers=1):
            for cell in cells_of(suite):
                evaluation.run_cell(
                    suite, cell, folder, report=lambda *_: None, known=board_world.STAGES
                )
    return folder


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
