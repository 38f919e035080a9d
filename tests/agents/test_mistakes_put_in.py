"""Every mistake of public implementations, put into a copy of the package, fails its own tests.

The tests that are named after a mistake, `test_mistake_3_...`, run against the copy.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import progym

pytestmark = pytest.mark.slow

PACKAGE = Path(progym.__file__).parent
TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Mistake:
    """What a file of the package says, once, and what it says where the mistake is made."""

    number: int
    name: str
    file: str
    right: str
    wrong: str


MISTAKES = (
    Mistake(
        1,
        "a run without a module drops all runs' calls of it",
        "agents/grpo/grouping.py",
        "for module, by_run in calls.items()",
        "for module, by_run in calls.items() if len(by_run) == len(runs)",
    ),
    Mistake(
        2,
        "ragged wants equal call counts",
        "agents/grpo/padding.py",
        "for run in runs if k < len(run)]",
        "for run in runs]",
    ),
    Mistake(
        3,
        "a reward of zero is taken for none",
        "agents/grpo/forming.py",
        "reward, trained = episode.reward, cast",
        "reward, trained = episode.reward or -1.0, cast",
    ),
    Mistake(
        3,
        "a soft failure reward of zero is taken for none",
        "agents/grpo/credit.py",
        "return episode.reward * len(failing.missing)",
        "return (episode.reward or -1.0) * len(failing.missing)",
    ),
    Mistake(
        3,
        "fields that were read are taken for their number",
        "agents/grpo/credit.py",
        "(len(failing.missing) + len(failing.fields))",
        "(len(failing.missing) + (failing.fields or 0))",
    ),
    Mistake(
        4,
        "an unreadable call is stored with the program's prompt",
        "envs/run.py",
        "prompt_ids=completion.prompt_ids,",
        "prompt_ids=(self.calls or [completion])[0].prompt_ids"
        " if parsed.error else completion.prompt_ids,",
    ),
    Mistake(
        5,
        "training leaves out the demos",
        "agents/models/transformers_lm.py",
        "prompt_ids=row.prompt,",
        "prompt_ids=tuple(self.encode([request.messages[0], request.messages[-1]])),",
    ),
    Mistake(
        5,
        "training scores at another temperature",
        "agents/grpo/scoring.py",
        "torch.tensor(labels, device=device), temperature)",
        "torch.tensor(labels, device=device), temperature * 2)",
    ),
    Mistake(
        6,
        "completions are tokenised again",
        "agents/models/transformers_lm.py",
        "token_ids=tuple(result.token_ids),",
        "token_ids=tuple(self.tokenizer.encode(text, add_special_tokens=False)),",
    ),
    Mistake(
        6,
        "rows hold other ids than were sampled",
        "agents/grpo/batch.py",
        "row = Row(step_type, call.prompt_ids, call.token_ids, weight * advantage, drawn)",
        "row = Row(step_type, call.prompt_ids, tuple(dict.fromkeys(call.token_ids)),"
        " weight * advantage, drawn)",
    ),
    Mistake(
        7,
        "a program may catch what could not be read",
        "envs/run.py",
        'self._end("parse_failure", reward=self._failure_reward, score=0.0)',
        "try:\n                self._steps.throw(ValueError(parsed.error))\n"
        "            except StopIteration as stop:\n"
        "                score = self._score(self.example, stop.value).value\n"
        '                self._end("ok", reward=score, score=score)',
    ),
    Mistake(
        8,
        "modules with the same fields are one",
        "agents/grpo/grouping.py",
        "calls.setdefault(call.module, {})",
        "calls.setdefault(str(sorted(call.fields)), {})",
    ),
    Mistake(
        8,
        "modules that were told other things are two",
        "agents/grpo/grouping.py",
        "calls.setdefault(call.module, {})",
        "calls.setdefault(call.module + str(call.prompt[:1]), {})",
    ),
    Mistake(
        9,
        "short groups are padded from the front",
        "agents/grpo/forming.py",
        "kept = selection(members, size)",
        "kept = selection([*members[: size - len(members)], *members], size)",
    ),
    Mistake(
        10,
        "stale groups are trained on instead of fresh ones",
        "agents/grpo/learning.py",
        "episodes = self._explorer.train(step)",
        'episodes = self.__dict__.setdefault("_stale", self._explorer.train(step))',
    ),
    Mistake(
        11,
        "prompt tokens stand in the loss",
        "agents/grpo/batch.py",
        "_pad([row.token_ids for row in rows], pad_id, left=False)",
        "_pad([row.prompt_ids + row.token_ids for row in rows], pad_id, left=False)",
    ),
    Mistake(
        12,
        "the best adapter is not restored",
        "agents/grpo/learning.py",
        "put_weights(self._trained, self._best.weights)",
        "pass",
    ),
    Mistake(
        12,
        "a run does not go on",
        "agents/grpo/learning.py",
        "self._resumed = load_checkpoint(self._path)",
        "self._resumed = None",
    ),
    Mistake(
        12,
        "seed 0 is no seed",
        "agents/grpo/stage.py",
        "processes = join_processes()",
        "import random; seed = seed or random.getrandbits(32); processes = join_processes()",
    ),
    Mistake(
        13,
        "models of modules are refused",
        "agents/grpo/stage.py",
        "others = {module: load_model(spec)",
        "assert not policy.models\n        others = {module: load_model(spec)",
    ),
    Mistake(
        13,
        "frozen modules are trained",
        "agents/grpo/forming.py",
        "    if frozen:",
        "    if False:",
    ),
)


def test_all_thirteen_are_put_in():
    assert {mistake.number for mistake in MISTAKES} == set(range(1, 14))


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: f"{m.number}: {m.name}")
def test_a_mistake_that_is_put_in_is_seen(mistake, tmp_path):
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "progym"))
    file = copy / mistake.file
    text = file.read_text()
    assert text.count(mistake.right) == 1
    file.write_text(text.replace(mistake.right, mistake.wrong))
    name = f"test_mistake_{mistake.number}_"
    folders = (TESTS / "agents", TESTS / "envs")
    files = [f for folder in folders for f in folder.glob("test_*.py") if name in f.read_text()]
    # -P: the copy is what is imported, not the package beside the tests.
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            *files,
            "-k",
            name,
            "-m",
            "not slow",
            "-p",
            "no:cacheprovider",
        ],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert f"::{name}" in done.stdout.partition("short test summary")[2]
