"""A bench run in a moment, its bundle, and the means to damage it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the toy stages are imported by module name

import board_world
from bundle_forger import Forger, make_run

from progym.benchmarks.export import to_json
from progym.benchmarks.suite import Suite
from progym.benchmarks.summary import summarize
from progym.leaderboard.packing import pack


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


@pytest.fixture
def forger(golden: Path, suite: Suite, tmp_path: Path) -> Forger:
    copy = tmp_path / "bundle.zip"
    copy.write_bytes(golden.read_bytes())
    return Forger(copy, suite)
