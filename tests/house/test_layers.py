"""Imports go one way: envs <- agents <- benchmarks <- leaderboard, and never through the links."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
LAYERS = ("envs", "agents", "benchmarks", "leaderboard")


def imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_the_contracts_in_pyproject_hold(capsys: pytest.CaptureFixture[str]) -> None:
    code = lint_imports(str(ROOT / "pyproject.toml"), no_cache=True)

    assert code == 0, capsys.readouterr().out


def test_nothing_is_imported_through_the_links_at_the_root() -> None:
    offenders = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources("progym", "tests", "examples")
        for name in imported_names(path)
        if name.split(".")[0] in LAYERS
    ]

    assert offenders == []


def test_environments_do_not_import_the_root_package_that_imports_them() -> None:
    offenders = [path for path in sources("progym/envs") if "progym" in imported_names(path)]

    assert offenders == []


@pytest.mark.parametrize("layer", LAYERS)
def test_the_links_at_the_root_lead_to_the_layers(layer: str) -> None:
    link = ROOT / layer

    assert link.is_symlink()
    assert link.readlink() == Path("progym") / layer
