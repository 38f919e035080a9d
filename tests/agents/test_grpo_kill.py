"""SIGKILL at twenty random moments of a run: the adapter is that of a run that was left alone."""

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = 20
_TRAIN = """
import sys
sys.path.insert(0, {here!r})
import progym.agents.grpo.learning
from letters import train
print("begun", flush=True)
watch = {{"save_every": 1, "eval_every": 50, "eval_examples": 4, "record_every": 1}}
train({lm!r}, __import__("pathlib").Path({folder!r}), max_steps=300, max_completion_length=4,
      beta=0.1, num_iterations=2, watch=watch)
"""


def start(lm, folder):
    here = str(Path(__file__).parent)
    code = _TRAIN.format(here=here, lm=str(lm), folder=str(folder))
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def finish(lm, folder):
    with start(lm, folder) as process:
        assert process.wait() == 0


def adapter(folder):
    return hashlib.sha256((folder / "adapter/adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow
def test_mistake_12_twenty_kills_at_random_moments_change_nothing(random_lm, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(random_lm, whole)
    draw = random.Random(0)
    for _ in range(KILLS):
        with start(random_lm, killed) as process:
            assert process.stdout is not None
            process.stdout.readline()  # what comes before is importing
            time.sleep(draw.uniform(0.1, 1.2))
            assert process.poll() is None, "the run was over before it could be killed"
            process.kill()
    finish(random_lm, killed)
    assert adapter(killed) == adapter(whole)
    lines = [(folder / "runs.jsonl").read_bytes() for folder in (killed, whole)]
    assert lines[0] == lines[1]
