"""Every check of a bundle: a change of just that is refused with its code, file and line."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bundle_forger import (
    EPISODES,
    MANIFEST,
    PLAIN,
    PROGRAM,
    RUN,
    Change,
    Forger,
    add_call,
    another_example,
    broken_prompts,
    change_answer,
    claim_more,
    claim_of_nothing,
    deep_answer,
    drop,
    drop_ask,
    drop_call,
    in_call,
    in_document,
    in_line,
    inside,
    no_rollouts,
    other_prompts,
    prompts,
    raw,
    raw_line,
    repeat_first,
    replaced,
    spend_more,
    swap_two,
    twin_seeds,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from progym.benchmarks.suite import Suite
from progym.leaderboard import identity
from progym.leaderboard.findings import CODES
from progym.leaderboard.verification import verify

LONG = "".join(str(number) for number in range(200_000))
"""Over a mebibyte, and not of the kind that a zip makes suspiciously small."""

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
    "no rollouts": (no_rollouts, "B02", "runs/toy/po/seed-0/run.json", None),
    "prompts without po": (prompts("speak", file=PLAIN), "B05", PLAIN, None),
    "weights without mmgrpo": (in_document(PROGRAM, adapter_sha256="0" * 64), "B05", PROGRAM, None),
    "a module's prompt too many": (prompts("shout"), "J11", PROGRAM, None),
    "a demo without inputs": (prompts("hint", {"inputs": {}, "outputs": {}}), "J12", PROGRAM, None),
    "a demo of other fields": (
        prompts("hint", {"inputs": {"word": "a"}, "outputs": {"reply": "b"}}),
        *("J11", PROGRAM, None),
    ),
    "uncommitted code": (in_document(MANIFEST, commit="c0ffee+changes"), "M15", MANIFEST, None),
    "no time": (in_document(MANIFEST, started="yesterday"), "B07", MANIFEST, None),
    "an end before its beginning": (
        in_document(RUN, ended="2020-01-31T12:00:00+00:00"),
        *("B07", RUN, None),
    ),
    "a time without its zone": (in_document(RUN, ended="2099-01-31T12:00:00"), "B07", RUN, None),
    "no prompt tokens": (in_call(1, 0, prompt_tokens=0), "B03", EPISODES, 1),
    "a text of no tokens": (in_call(1, 0, completion_tokens=0), "B03", EPISODES, 1),
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
    "prompts of another form": (broken_prompts, "J12", PROGRAM, None),
    "an unknown field of a prompt": (prompts("speak", tone="warm"), "J11", PROGRAM, None),
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


def test_an_environment_that_does_not_repeat_is_not_the_bundles_fault(
    golden: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch
):
    numbers = count()
    monkeypatch.setattr("board_world.Echo.answer", lambda *_, **__: [f"{next(numbers)}"])
    verification = verify(golden, suites=[suite])

    assert verification.exit_code == 2
    assert verification.reason.startswith("R10")


def test_answers_of_an_endpoint_could_not_be_checked(
    golden: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("board_world.Echo.deterministic", False)
    verification = verify(golden, suites=[suite])

    assert verification.exit_code == 2
    assert "asks an endpoint (echo)" in verification.reason


def test_other_weights_of_the_model_are_refused_where_they_are_known(
    forger: Forger, monkeypatch: pytest.MonkeyPatch
):
    inside(MANIFEST, "base_model", weights_sha256="0" * 64)(forger)
    assert forger.verify().outcome == "accepted"  # "gold" has no weights
    monkeypatch.setattr(identity, "weights_digest", lambda model: "1" * 64)

    assert [finding.code for finding in forger.verify().findings] == ["M16"]


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
