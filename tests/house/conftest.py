"""What the tests of the house share: the code blocks of the documents."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(document: str) -> list[str]:
    """The Python code blocks of a document at the root, in order."""
    return BLOCK.findall((ROOT / document).read_text("utf-8"))


@pytest.fixture(scope="session")
def readme_example() -> str:
    return python_blocks("README.md")[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for `document_block` every Python block of every document."""
    if "document_block" in metafunc.fixturenames:
        documents = ["README.md", "CONTRIBUTING.md"]
        documents += [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/*.md"))]
        blocks = {
            f"{document}:{number}": block
            for document in documents
            for number, block in enumerate(python_blocks(document), 1)
        }
        metafunc.parametrize("document_block", blocks.values(), ids=blocks.keys())
