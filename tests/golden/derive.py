"""Derives `groups.json` in plain Python, apart from progym: `python tests/golden/derive.py`.

A second telling of the algorithm, slow and literal, for whoever implements mmGRPO and wants numbers
to compare with. `docs/golden_vectors.md` says what the fields mean.
"""

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def run(example, reward, *calls, progress=None, missing=None):
    values = {"example": example, "reward": reward, "calls": list(calls)}
    if progress is not None:
        values["progress"] = progress
    if missing is not None:  # of the last call: [fields missing, fields in all]
        values["missing"] = missing
    return values


EVEN = [run("x", 1.0, "ask", "tell"), run("x", 0.0, "ask", "tell"), run("x", 0.5, "ask", "tell")]
UNEVEN = [
    run("x", 1.0, "ask", "tell", "tell", "tell"),
    run("x", 0.0, "ask", "tell"),
    run("x", 0.5, "ask", "tell", "ask"),
    run("y", 0.25, "ask"),
    run("y", 0.75, "ask"),
]
NOT_CALLED = [run("x", 1.0, "ask", "tell"), run("x", 0.0, "ask", "tell"), run("x", -1.0, "ask")]
MANY = [run("x", r, "ask") for r in (0.3, 0.1, 0.9, 0.5, 0.7, 0.2)]
TIED = [run("x", r, "ask") for r in (0.5, 0.5, 0.5, 1.0, 0.5)]
LEVEL = [run("x", 0.5, "ask"), run("x", 0.5, "ask"), run("y", 0.0, "ask"), run("y", 1.0, "ask")]
HOPS = [
    run("x", 1.0, "ask", "tell", "ask", progress=[0.25, 0.25, 0.5]),
    run("x", 0.25, "ask", "tell", "ask", progress=[0.25, 0.25, 0.25]),
    run("x", 0.5, "ask", "tell", "ask", progress=[0.25, 0.25, 0.5]),
]
FAILED = [
    run("x", 1.0, "ask", "tell", "tell"),
    run("x", 0.5, "ask", "tell", "tell"),
    run("x", -1.0, "ask", "tell", missing=[1, 2]),
]
CASES = [
    ("every run makes the same calls", EVEN, {}),
    (
        "truncate keeps the occurrences that all runs with the module have",
        UNEVEN,
        {"padding": "truncate"},
    ),
    ("fill repeats a run's own calls", UNEVEN, {"padding": "fill"}),
    ("ragged leaves later groups smaller", UNEVEN, {"padding": "ragged"}),
    ("a run without a module costs no other run's calls", NOT_CALLED, {"padding": "truncate"}),
    ("whole runs are compared", UNEVEN, {"grouping": "trajectory"}),
    ("four of six, at evenly spaced ranks", MANY, {"size": 4}),
    ("two of five, with ties", TIED, {"size": 2}),
    ("level groups have advantages of zero", LEVEL, {}),
    ("advantages by the spread of the batch", LEVEL, {"scale_rewards": "batch"}),
    ("advantages that are not scaled", LEVEL, {"scale_rewards": "none"}),
    ("credit by what came after the call", HOPS, {"credit": "to_go"}),
    ("a failure reward inherited by good calls", FAILED, {"padding": "ragged"}),
    (
        "a failure reward by the fields that are missing",
        FAILED,
        {"padding": "ragged", "unreadable": "soft"},
    ),
    ("the failing call alone", FAILED, {"padding": "ragged", "failed_runs": "failing_call"}),
]
DEFAULTS: dict[str, Any] = {
    "grouping": "module",
    "padding": "fill",
    "size": 12,
    "credit": "final",
    "unreadable": "hard",
    "failed_runs": "whole",
    "scale_rewards": "group",
}


def credited(one, rules):
    reward = Fraction(one["reward"])
    if "missing" in one and rules["unreadable"] == "soft":
        missing, fields = one["missing"]
        reward = reward * missing / fields
    if rules["credit"] == "to_go":
        return [reward - Fraction(before) for before in one["progress"]]
    return [reward] * len(one["calls"])


def slots(runs, members, rules):
    """Groups as {(example, module, occurrence): [(run, call), ...]}."""
    found = {}
    for example in dict.fromkeys(one["example"] for one in runs):
        mine = [i for i in members if runs[i]["example"] == example]
        if rules["grouping"] == "trajectory":
            found[example, None, None] = [(i, None) for i in mine]
            continue
        for module in dict.fromkeys(m for i in mine for m in runs[i]["calls"]):
            places = {
                i: [k for k, name in enumerate(runs[i]["calls"]) if name == module] for i in mine
            }
            places = {i: calls for i, calls in places.items() if calls}
            counts = [len(calls) for calls in places.values()]
            length = min(counts) if rules["padding"] == "truncate" else max(counts)
            for occurrence in range(length):
                group = []
                for i, calls in places.items():
                    if occurrence < len(calls):
                        group.append((i, calls[occurrence]))
                    elif rules["padding"] == "fill":
                        assert len(set(calls)) == 1, "a draw; the vectors hold none"
                        group.append((i, calls[0]))
                found[example, module, occurrence] = group
    return found


def keep_diverse(group, rewards, size):
    if len(group) <= size:
        return group
    order = sorted(range(len(group)), key=lambda g: rewards[g])
    step = Fraction(len(group) - 1, size - 1)
    ranks = {math.floor(step * i + Fraction(1, 2)) for i in range(size)}
    return [one for g, one in enumerate(group) if order.index(g) in ranks]


def spread(values):
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def derive(runs, given):
    rules = dict(DEFAULTS)
    rules.update(given)
    earned = [credited(one, rules) for one in runs]
    groups = []
    for (example, module, occurrence), group in slots(runs, range(len(runs)), rules).items():
        if rules["failed_runs"] == "failing_call":
            last = {i: len(one["calls"]) - 1 for i, one in enumerate(runs) if "missing" in one}
            group = [(i, k) for i, k in group if i not in last or k == last[i]]
        rewards = [earned[i][0 if k is None else k] for i, k in group]
        group = keep_diverse(group, rewards, rules["size"])
        rewards = [earned[i][0 if k is None else k] for i, k in group]
        if len(group) > 1:
            groups.append([example, module, occurrence, group, rewards])
    batch = [r for *_, rewards in groups for r in rewards]
    found = []
    for example, module, occurrence, group, rewards in groups:
        mean = sum(rewards) / len(rewards)
        scale = {
            "group": spread(rewards) + 1e-4, "batch": spread(batch) + 1e-4, "none": 1.0
        }[rules["scale_rewards"]]  # fmt: skip
        level = len(set(rewards)) == 1
        found.append(
            {
                "example": example,
                "module": module,
                "occurrence": occurrence,
                "members": [[i, k] for i, k in group],
                "rewards": [float(r) for r in rewards],
                "advantages": [0.0 if level else float(r - mean) / scale for r in rewards],
            }
        )
    return found


def main():
    cases = [
        {"name": name, "rules": {**DEFAULTS, **rules}, "runs": runs, "groups": derive(runs, rules)}
        for name, runs, rules in CASES
    ]
    return json.dumps({"version": 1, "cases": cases}, indent=1) + "\n"


if __name__ == "__main__":
    (HERE / "groups.json").write_text(main(), "utf-8")
