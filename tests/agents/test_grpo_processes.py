"""Two processes learn what one learns: episodes, groups and rows are split between them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torchrun_letters import RUNS

from progym.agents.processes import ALONE, Processes
from progym.envs.errors import BadValue

# Llamas norm in single precision whatever the weights are in, so sums over other rows differ by it.
ROUNDING = 1e-5
# Adam divides by a gradient's own size, however much of it is rounding: one weight of 32,000 shows.
ADAM_ROUNDING = 1e-4

SCRIPT = Path(__file__).parent / "torchrun_letters.py"
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node")


def launch(processes, folder, lm):
    folder.mkdir()
    command = [sys.executable, *([*LAUNCHER, str(processes)] if processes > 1 else []), str(SCRIPT)]
    return subprocess.Popen(
        [*command, str(folder), str(lm)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        text=True,
    )


@pytest.fixture(scope="module")
def folders(random_lm, tmp_path_factory):
    """The runs of one process, and those of two."""
    home = tmp_path_factory.mktemp("processes")
    found = home / "one", home / "two"
    runs = [launch(count, folder, random_lm) for count, folder in enumerate(found, 1)]
    for count, run in enumerate(runs, 1):
        output, _ = run.communicate(timeout=600)
        assert run.returncode == 0, output
        assert output.count("left nothing behind") == count
    return found


def lines_of(folder, name):
    """A run's records, without their times."""
    lines = (folder / name / "metrics.jsonl").read_text().splitlines()
    return [strip(json.loads(line)) for line in lines]


def strip(values):
    if isinstance(values, dict):
        return {key: strip(value) for key, value in values.items() if "time" not in key}
    return values


def flatten(values, path=""):
    if isinstance(values, dict):
        for key, value in values.items():
            yield from flatten(value, f"{path}/{key}")
    else:
        yield path, values


@pytest.mark.parametrize("name", RUNS)
def test_losses_gradients_and_records_are_those_of_one_process(folders, name):
    one, two = (lines_of(folder, name) for folder in folders)
    assert len(one) == len(two)
    for line, other in zip(one, two, strict=True):
        found, expected = dict(flatten(other)), dict(flatten(line))
        assert found.keys() == expected.keys()
        for path, value in expected.items():
            exact = not isinstance(value, float)
            same = value if exact else pytest.approx(value, rel=ROUNDING, abs=1e-3 * ROUNDING)
            assert found[path] == same, path


@pytest.mark.parametrize("name", RUNS)
def test_the_adapter_is_that_of_one_process(folders, name):
    import torch
    from safetensors.torch import load_file

    files = sorted((folders[0] / name).rglob("*.safetensors"))
    assert len(files) == (2 if name == "adapters" else 1)
    for file in files:
        one, two = (load_file(folder / file.relative_to(folders[0])) for folder in folders)
        ones, twos = (torch.cat([part[key].flatten() for key in one]) for part in (one, two))
        assert (ones - twos).norm() <= ADAM_ROUNDING * ones.norm()


@pytest.mark.parametrize("name", RUNS)
def test_episodes_are_written_once_and_in_order(folders, name):
    one, two = ((folder / name / "runs.jsonl").read_bytes() for folder in folders)
    assert one == two


def test_runs_call_modules_differently_often_and_groups_are_split_between_processes(folders):
    runs = [json.loads(line) for line in (folders[1] / "grpo/runs.jsonl").read_text().splitlines()]
    assert len({len(run["calls"]) for run in runs}) > 1
    parts = [Processes(rank, 2).share(range(3 * 4)) for rank in (0, 1)]
    examples = [{run // 4 for run in part} for part in parts]
    assert examples[0] & examples[1]


@pytest.mark.parametrize("count", [0, 1, 5, 12])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_shares_are_neighbours_that_add_up(count, world_size):
    parts = [Processes(rank, world_size).share(range(count)) for rank in range(world_size)]
    assert [item for part in parts for item in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_keeps_to_itself():
    def fail():
        raise BadValue("no")

    assert ALONE.leads
    assert ALONE.collect(lambda: (1, 2)) == [1, 2]
    assert ALONE.first(lambda: 3) == 3
    with pytest.raises(BadValue):
        ALONE.collect(fail)
