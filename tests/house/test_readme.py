"""What the documents show runs, and the README's tree is the tree."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
    named = {target for text in documents for target in re.findall(r"`?make ([a-z]+)`", text)}

    missing = [target for target in named if f"\n{target}:" not in makefile]

    assert named
    assert missing == []
