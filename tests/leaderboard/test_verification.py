"""Every check of a bundle: a change of just that is refused with its code, file and line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundle_forger import EPISODES, PROGRAM, RUN, Forger
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from progym.benchmarks.suite import Suite
from progym.leaderboard.findings import CODES
from progym.leaderboard.verification import verify

MANIFEST = "manifest.json"
LONG = "".join(str(number) for number in range(200_000))
"""Over a mebibyte, and not of the kind that a zip makes suspiciously small."""

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


def broken_prompts(forger: Forger) -> None:
    forger.document(PROGRAM, lambda program: program["prompts"]["speak"].pop("instruction"))


# What is changed, the code, the file, the line.
MEANING: dict[str, tuple[Change, str, str, int | None]] = {
    "one reward": (in_line(1, reward=0.9), "R05", EPISODES, 1),
    "one score": (in_line(3, score=0.9), "R05", EPISODES, 3),
    "one metric": (in_line(1, metrics={"right": 0.25}), "R05", EPISODES, 1),
    "one completion": (in_call(3, 1, completion="Reply: cheating"), "R04", EPISODES, 3),
    "one field": (in_call(2, 1, fields={"reply": "x"}), "R04", EPISODES, 2),
    "one prompt": (in_call(2, 0, prompt_digest="0" * 16), "R01", EPISODES, 2),
    "the prompt set": (other_prompts, "R01", EPISODES, 1),
    "another module": (in_call(2, 0, module="speak"), "R02", EPISODES, 2),
    "a call missing": (drop_call, "R02", EPISODES, 1),
    "a call too many": (add_call, "R02", EPISODES, 1),
    "an answer": (change_answer, "R03", EPISODES, 1),
    "a request missing": (drop_ask, "R03", EPISODES, 1),
    "how it ended": (in_line(1, status="truncated"), "R09", EPISODES, 1),
    "a fault": (in_line(1, status="fault"), "R09", EPISODES, 1),
    "a score above 1": (in_line(1, score=1.5), "R08", EPISODES, 1),
    "an episode missing": (drop(4), "M07", EPISODES, None),
    "an episode twice": (repeat_first, "M06", EPISODES, 9),
    "an episode too many": (another_example, "M08", EPISODES, 9),
    "episodes out of order": (swap_two, "M13", EPISODES, 1),
    "an episode's seed": (in_line(2, seed=7), "M10", EPISODES, 2),
    "twin seeds": (twin_seeds, "M12", EPISODES, None),
    "the suite's name": (inside(MANIFEST, "suite", name="others"), "M01", MANIFEST, None),
    "the suite's digest": (inside(MANIFEST, "suite", digest="0" * 64), "M01", MANIFEST, None),
    "a run's task": (in_document(RUN, task="big-toy"), "M01", RUN, None),
    "a claim on nothing": (claim_of_nothing, "M01", MANIFEST, None),
    "the environment": (in_document(RUN, env_id="BoardToy-v1"), "M02", RUN, None),
    "its arguments": (in_document(RUN, env_kwargs={"size": 7}), "M02", RUN, None),
    "the split": (inside(RUN, "evaluation", split="train"), "M04", RUN, None),
    "the data": (in_document(RUN, fingerprint="toy-7-test"), "M05", RUN, None),
    "the sampling": (inside(RUN, "evaluation", temperature=0.5), "M14", RUN, None),
    "the model": (in_document(PROGRAM, model="smollm2"), "M16", PROGRAM, None),
    "the claimed model": (inside(MANIFEST, "base_model", name="x"), "M16", MANIFEST, None),
    "a claimed mean": (claim_more, "R07", MANIFEST, None),
    "a run's score": (in_document(RUN, score=0.999), "R07", RUN, None),
    "the sums": (inside(RUN, "evaluation_cost", calls=3), "B02", RUN, None),
    "the budget": (spend_more, "B01", RUN, None),
    "the stages": (in_document(RUN, stages=[]), "B05", RUN, None),
    "many tokens": (in_call(1, 0, completion_tokens=65), "B03", EPISODES, 1),
    "negative tokens": (in_call(1, 0, completion_tokens=-1), "B03", EPISODES, 1),
}

TEXT: dict[str, tuple[Change, str, str, int | None]] = {
    "not UTF-8": (replaced(2, b"\xc3\xb6", b"\xf6"), "J01", EPISODES, 2),
    "a byte order mark": (raw(lambda text: b"\xef\xbb\xbf" + text), "J01", EPISODES, 1),
    "NUL": (raw_line(3, lambda line: line[:-1] + b"\0\n"), "J01", EPISODES, 3),
    "a carriage return": (raw_line(3, lambda line: line[:-1] + b"\r\n"), "J01", EPISODES, 3),
    "half a pair": (replaced(2, b"Query:", b"Query\\ud800:"), "J02", EPISODES, 2),
    "no last line feed": (raw(lambda text: text[:-1]), "J03", EPISODES, 8),
    "a torn last line": (raw(lambda text: text[:-40]), "J03", EPISODES, 8),
    "a long line": (in_call(1, 0, completion=LONG), "J04", EPISODES, 1),
    "a blank line": (raw_line(2, lambda line: line + b" \n"), "J05", EPISODES, 3),
    "a key twice": (raw_line(2, lambda line: b'{"reward":1,' + line[1:]), "J06", EPISODES, 2),
    "NaN": (in_line(2, reward=float("nan")), "J07", EPISODES, 2),
    "infinity": (replaced(1, b'"repeat":0', b'"repeat":1e999'), "J07", EPISODES, 1),
    "a large integer": (in_line(2, seed=2**53 + 1), "J08", EPISODES, 2),
    "deep nesting": (deep_answer, "J09", EPISODES, 1),
    "very deep nesting": (raw_line(1, lambda line: b"[" * 99_999 + b"\n"), "J09", EPISODES, 1),
    "a number as text": (in_line(2, reward="0.5"), "J10", EPISODES, 2),
    "true for a number": (in_line(2, repeat=True), "J10", EPISODES, 2),
    "broken JSON": (raw_line(2, lambda line: line[5:]), "J10", EPISODES, 2),
    "prompts of another form": (broken_prompts, "J10", PROGRAM, None),
    "an unknown field": (in_line(2, bonus=1), "J11", EPISODES, 2),
    "a missing field": (lambda f: f.line(2, lambda e: e.pop("asks")), "J12", EPISODES, 2),
    "a newer format": (in_document(RUN, schema_version=2), "J13", RUN, None),
    "an older format": (in_document(RUN, schema_version=0), "J14", RUN, None),
    "not an object": (raw_line(2, lambda line: b"[1]\n"), "J15", EPISODES, 2),
    "a control character": (inside(MANIFEST, "entrant", name="a\x1b[31mb"), "D01", MANIFEST, None),
    "a bidi character": (inside(MANIFEST, "entrant", name="a\u202eb"), "D02", MANIFEST, None),
    "a long name": (inside(MANIFEST, "entrant", name="a" * 81), "D05", MANIFEST, None),
}


@pytest.mark.parametrize("what", [*MEANING, *TEXT])
def test_a_bundle_with_one_thing_changed_is_refused_for_it(what: str, forger: Forger):
    change, code, file, line = (MEANING | TEXT)[what]

    change(forger)
    verification = forger.verify()

    first = verification.findings[0]
    assert verification.exit_code == 1
    assert (first.code, first.file, first.line) == (code, file, line)


def test_every_mutation_has_a_code_that_is_explained():
    assert {code for _, code, _, _ in (MEANING | TEXT).values()} <= CODES.keys()


def test_other_seeds_than_the_suites_are_refused(forger: Forger):
    for file in [name for name in forger.files if "/seed-2/" in name]:
        del forger.files[file]

    def two_seeds(manifest: dict[str, Any]) -> None:
        manifest["seeds"] = [0, 1]
        manifest["files"] = [f for f in manifest["files"] if "/seed-2/" not in f["path"]]

    forger.document(MANIFEST, two_seeds)

    assert [finding.code for finding in forger.verify().findings] == ["M11"]


def test_all_findings_of_a_stage_are_told_and_later_stages_are_not_begun(forger: Forger):
    forger.line(1, lambda line: line.update(reward=0.9))
    forger.line(2, lambda line: line["calls"][0].update(prompt_digest="0" * 16))
    claim_more(forger)

    verification = forger.verify()

    assert verification.stage == "replay"
    assert [finding.code for finding in verification.findings] == ["R05", "R01"]


def test_a_good_bundle_is_accepted_with_the_scores_of_its_run(
    golden: Path, suite: Suite, results: dict[str, Any]
):
    verification = verify(golden, suites=[suite])

    assert (verification.outcome, verification.exit_code, verification.episodes) == (
        "accepted",
        0,
        96,
    )
    for entry, mean in zip(verification.entries, results["mean_over_tasks"], strict=True):
        assert entry.mean.value == pytest.approx(mean["score"]["value"], abs=1e-12)
        assert entry.mean.low == pytest.approx(mean["score"]["low"], abs=1e-12)


def test_a_suite_that_is_not_known_is_refused_with_those_that_are(golden: Path):
    verification = verify(golden)

    assert [finding.code for finding in verification.findings] == ["M01"]


def test_what_is_not_there_could_not_be_checked(tmp_path: Path):
    verification = verify(tmp_path / "none.zip")

    assert verification.exit_code == 2
    assert "No such file" in verification.reason


def test_an_environment_that_fails_here_could_not_be_checked(
    golden: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the index is broken")

    monkeypatch.setattr("board_world.Echo.answer", fail)
    verification = verify(golden, suites=[suite])

    assert verification.exit_code == 2
    assert "the index is broken" in verification.reason


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_single_byte_flip_is_refused(data: st.DataObject, golden: Path, tmp_path: Path):
    content = bytearray(golden.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(content)

    assert verify(damaged).findings[0].code in {"C01", "C17"}


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300))
def test_noise_is_refused_without_a_traceback(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.mktemp("noise") / "noise.zip"
    path.write_bytes(content)

    assert verify(path).exit_code == 1
