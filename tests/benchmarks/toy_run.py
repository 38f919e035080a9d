"""`run_suite` in a process of its own, for tests that kill it: toy_run.py FOLDER MISBEHAVIOUR."""

import signal
import sys
from pathlib import Path

from toy_world import STAGES, toy_suite

from progym.benchmarks.runner import run_suite

if __name__ == "__main__":
    # What a shell starts in the background ignores Ctrl-C, and so would this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    outcome = run_suite(toy_suite(sys.argv[2]), Path(sys.argv[1]), workers=1, known=STAGES)
    sys.stdout.write(outcome.message + "\n")
    sys.exit(outcome.exit_code)
