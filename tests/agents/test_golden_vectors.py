"""The golden vectors: numbers that a second, literal telling of the algorithm gives, too."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from progym.agents.grpo.forming import form_groups
from progym.agents.grpo.rules import GroupRules
from progym.envs.records import CallRecord, Episode

FOLDER = Path(__file__).parent.parent / "golden"
CASES = json.loads((FOLDER / "groups.json").read_text("utf-8"))["cases"]


def episode(run):
    """The episode that a vector's run stands for."""
    calls, seen = [], {}
    for place, module in enumerate(run["calls"]):
        seen[module] = seen.get(module, -1) + 1
        missing, fields = run.get("missing", (0, 1))
        last = place == len(run["calls"]) - 1
        calls.append(
            CallRecord(
                module, seen[module], (), "",
                {f"read{n}": "" for n in range(fields - missing if last else fields)},
                missing=tuple(f"lost{n}" for n in range(missing if last else 0)),
                progress=run["progress"][place] if "progress" in run else None,
            )
        )  # fmt: skip
    status = "parse_failure" if "missing" in run else "ok"
    reward = run["reward"]
    return Episode("", {}, "", "", run["example"], 0, tuple(calls), (), status, reward, None)


def described(group):
    """A group in the words of the vectors."""
    whole = group.step_type is None
    return {
        "example": group.example_id,
        "module": None if whole else group.step_type.module,
        "occurrence": None if whole else group.step_type.occurrence,
        "members": [[m.run, None if whole else m.places[0]] for m in group.members],
        "rewards": list(group.rewards),
        "advantages": [pytest.approx(value, abs=1e-12) for value in group.advantages],
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_groups_and_advantages_are_the_vectors(case):
    rules = dict(case["rules"])
    size = rules.pop("size")
    episodes = [episode(run) for run in case["runs"]]
    formed = form_groups(episodes, np.random.default_rng(0), size=size, rules=GroupRules(**rules))
    assert [described(group) for group in formed.groups] == case["groups"]


def test_the_vectors_are_what_their_derivation_gives():
    derivation = runpy.run_path(str(FOLDER / "derive.py"))
    assert derivation["main"]() == (FOLDER / "groups.json").read_text("utf-8")
