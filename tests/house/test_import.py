"""`import progym` is cheap: nothing heavy is loaded, and little time is spent."""

import json
import subprocess
import sys
from typing import Any

import pytest

HEAVY = [
    *("torch", "transformers", "datasets", "trl", "peft", "accelerate"),
    *("scipy", "matplotlib", "pandas", "pydantic", "jinja2"),
    *("bm25s", "typer", "rich", "dspy"),
]

MEASURE = """
import json, sys, time
import gymnasium
start = time.process_time()
import progym
seconds = time.process_time() - start
print(json.dumps({"seconds": seconds, "modules": sorted(sys.modules), "names": progym.__all__}))
"""


@pytest.fixture(scope="module")
def imports() -> list[dict[str, Any]]:
    def fresh_interpreter() -> dict[str, Any]:
        command = [sys.executable, "-c", MEASURE]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    return [fresh_interpreter() for _ in range(3)]


@pytest.mark.parametrize("name", HEAVY)
def test_importing_progym_does_not_load(name: str, imports: list[dict[str, Any]]) -> None:
    assert name not in imports[0]["modules"]


def test_importing_the_command_line_loads_no_extra() -> None:
    code = "import json, sys, progym.cli.main; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert set(json.loads(done.stdout)) & {*HEAVY} - {"typer", "rich"} == set()


def test_importing_progym_takes_under_half_a_second_beyond_gymnasium(
    imports: list[dict[str, Any]],
) -> None:
    assert min(run["seconds"] for run in imports) < 0.5


def test_the_package_exports_at_most_ten_names(imports: list[dict[str, Any]]) -> None:
    assert len(imports[0]["names"]) <= 10
