"""Makes runs in a moment, and changes what their bundles hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import board_world
import pytest

from progym.benchmarks import evaluation, provenance, run_folder
from progym.benchmarks.cells import cells_of
from progym.benchmarks.run_folder import open_run
from progym.benchmarks.suite import Suite
from progym.leaderboard.container import read_container, write_container
from progym.leaderboard.verification import Verification, verify

MANIFEST = "manifest.json"
EPISODES = "runs/toy/po/seed-1/episodes.jsonl"
RUN = "runs/toy/po/seed-1/run.json"
PROGRAM = "runs/toy/po/seed-1/program.json"
PLAIN = "runs/toy/vanilla/seed-1/program.json"


def make_run(folder: Path, suite: Suite) -> Path:
    """Compute a run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "commit", lambda: "c0ffee")  # boards refuse a changed checkout
        patch.setattr(evaluation, "load_model", lambda policy: board_world.ToyModel())
        patch.setattr(provenance, "_accelerator", lambda: "none")  # it would load torch to ask
        with open_run(suite, folder, resume=False, workers=1):
            for cell in cells_of(suite):
                evaluation.run_cell(
                    suite, cell, folder, report=lambda *_: None, known=board_world.STAGES
                )
    return folder


class Forger:
    """A bundle's files, to be changed; what is listed of them is made to fit again."""

    def __init__(self, path: Path, suite: Suite) -> None:
        self.path, self.suite = path, suite
        self.files, wrong = read_container(path.read_bytes())
        assert wrong == []

    def document(self, file: str, change: Callable[[dict[str, Any]], Any]) -> None:
        values = json.loads(self.files[file])
        change(values)
        self.files[file] = json.dumps(values, ensure_ascii=False).encode() + b"\n"

    def line(self, number: int, change: Callable[[dict[str, Any]], Any], file=EPISODES) -> None:
        lines = self.files[file].splitlines(keepends=True)
        values = json.loads(lines[number - 1])
        change(values)
        lines[number - 1] = json.dumps(values, ensure_ascii=False).encode() + b"\n"
        self.files[file] = b"".join(lines)

    def lines(self, change: Callable[[list[bytes]], list[bytes]], file=EPISODES) -> None:
        self.files[file] = b"".join(change(self.files[file].splitlines(keepends=True)))

    def relist(self) -> None:
        def change(manifest: dict[str, Any]) -> None:
            for listed in manifest["files"]:
                content = self.files.get(listed["path"], b"")
                listed["bytes"] = len(content)
                listed["lines"] = content.count(b"\n")
                listed["sha256"] = hashlib.sha256(content).hexdigest()

        self.document(MANIFEST, change)

    def write(self) -> Path:
        self.path.write_bytes(write_container(self.files))
        return self.path

    def verify(self) -> Verification:
        self.relist()
        return verify(self.write(), suites=[self.suite])


Change = Callable[[Forger], Any]


def in_line(number: int, **values: object) -> Change:
    return lambda forger: forger.line(number, lambda line: line.update(values))


def in_call(number: int, call: int, **values: object) -> Change:
    return lambda forger: forger.line(number, lambda line: line["calls"][call].update(values))


def in_document(file: str, **values: object) -> Change:
    return lambda forger: forger.document(file, lambda document: document.update(values))


def inside(file: str, key: str, **values: object) -> Change:
    return lambda forger: forger.document(file, lambda document: document[key].update(values))


def raw(change: Callable[[bytes], bytes], file: str = EPISODES) -> Change:
    return lambda forger: forger.files.update({file: change(forger.files[file])})


def raw_line(number: int, change: Callable[[bytes], bytes]) -> Change:
    def swap(lines: list[bytes]) -> list[bytes]:
        return [*lines[: number - 1], change(lines[number - 1]), *lines[number:]]

    return lambda forger: forger.lines(swap)


def replaced(number: int, old: bytes, new: bytes) -> Change:
    def change(line: bytes) -> bytes:
        assert old in line
        return line.replace(old, new)

    return raw_line(number, change)


def deep_answer(forger: Forger) -> None:
    deep = json.loads("[" * 40 + "]" * 40)
    forger.line(1, lambda line: line["asks"][0].update(answer=deep))


def drop(number: int) -> Change:
    return lambda forger: forger.lines(lambda lines: lines[: number - 1] + lines[number:])


def swap_two(forger: Forger) -> None:
    forger.lines(lambda lines: [lines[1], lines[0], *lines[2:]])


def repeat_first(forger: Forger) -> None:
    forger.lines(lambda lines: [*lines, lines[0]])


def another_example(forger: Forger) -> None:
    repeat_first(forger)
    forger.line(9, lambda line: line.update(example_id="test-99"))


def drop_call(forger: Forger) -> None:
    forger.line(1, lambda line: line["calls"].pop())


def add_call(forger: Forger) -> None:
    forger.line(1, lambda line: line["calls"].append(line["calls"][-1] | {"occurrence": 1}))


def change_answer(forger: Forger) -> None:
    forger.line(1, lambda line: line["asks"][0].update(answer=["other"]))


def drop_ask(forger: Forger) -> None:
    forger.line(1, lambda line: line["asks"].clear())


def claim_more(forger: Forger) -> None:
    forger.document(MANIFEST, lambda manifest: manifest["claims"][2].update(mean=0.99))


def claim_of_nothing(forger: Forger) -> None:
    forger.document(MANIFEST, lambda manifest: manifest["claims"][0].update(task="other"))


def twin_seeds(forger: Forger) -> None:
    def copy(line: dict[str, Any], number: int) -> None:
        source = forger.files["runs/toy/po/seed-0/episodes.jsonl"].splitlines()[number]
        line["calls"] = json.loads(source)["calls"]

    for number in range(8):
        forger.line(number + 1, lambda line, number=number: copy(line, number))


def spend_more(forger: Forger) -> None:
    forger.document(RUN, lambda run: run["stages"][0]["cost"].update(rollouts=10**7))


def other_prompts(forger: Forger) -> None:
    forger.document(PROGRAM, lambda program: program["prompts"]["speak"].update(instruction="Hm."))


def no_rollouts(forger: Forger) -> None:
    for file in [name for name in forger.files if "/po/" in name and name.endswith("run.json")]:
        forger.document(file, lambda run: run["evaluation_cost"].update(rollouts=0))


def prompts(module: str, *demos: dict[str, Any], file: str = PROGRAM, **more: object) -> Change:
    values = {module: {"instruction": "Hm.", "demos": list(demos), **more}}
    return in_document(file, prompts=values)


def broken_prompts(forger: Forger) -> None:
    forger.document(PROGRAM, lambda program: program["prompts"]["speak"].pop("instruction"))
