"""Speed is measured in CPU seconds, which a busy machine changes little; said at once."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # lets tests import their helpers by name

LINES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Write a line, with `-s` at once, and keep it for the summary at the end."""
    lines = pytestconfig.stash.setdefault(LINES, [])
    reporter: Any = pytestconfig.pluginmanager.getplugin("terminalreporter")

    def write(line: str) -> None:
        lines.append(line)
        reporter.ensure_newline()
        reporter.write_line(line)
        reporter.flush()

    return write


@pytest.fixture(scope="session")
def rate() -> Callable[[Callable[[], int]], float]:
    """How many things a second something does that gives their number."""

    def measure(work: Callable[[], int]) -> float:
        start = time.process_time()
        done = work()
        return done / (time.process_time() - start)

    return measure


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    lines = config.stash.get(LINES, [])
    if lines:
        terminalreporter.section("speed")
    for line in lines:
        terminalreporter.line(line)
