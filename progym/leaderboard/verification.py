"""Verifies a bundle in stages: all that is wrong in a stage is told, and the next is not begun.

container   the zip, its names and sizes
manifest    the list of all files, and that they are what it says
text        JSON without surprises, and every field of the format
identity    suite, data, seeds and the exact set of episodes are this installation's
replay      every episode re-executed from its completions
score       every mean and sum recomputed
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from progym.benchmarks.suite import Suite
from progym.envs.errors import ProgymError
from progym.leaderboard.bundle import (
    MANIFEST,
    MAX_BUNDLE_BYTES,
    PARTS,
    Bundle,
    BundledRun,
    EpisodeLine,
    Manifest,
    ProgramFile,
    RunFile,
    folders_of,
)
from progym.leaderboard.container import read_container
from progym.leaderboard.execution import CannotCheck, Report, execute
from progym.leaderboard.findings import Finding, found
from progym.leaderboard.identity import check_grid, check_runs, find_suite, install
from progym.leaderboard.scoring import Entry, score_bundle
from progym.leaderboard.shown_text import check_shown
from progym.leaderboard.strict_reading import read_document, read_records

Outcome = Literal["accepted", "refused", "unchecked"]


@dataclass(frozen=True)
class Verification:
    """What became of a bundle; `entries` are there only where it is accepted."""

    name: str
    """The bundle's file name."""
    sha256: str
    """Empty for a file that could not be read, or is too large to be."""
    outcome: Outcome
    stage: str
    """The last stage that was begun."""
    findings: tuple[Finding, ...] = ()
    reason: str = ""
    """Why it could not be checked."""
    bundle: Bundle | None = None
    entries: tuple[Entry, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 accepted, 1 refused, 2 could not check."""
        return {"accepted": 0, "refused": 1, "unchecked": 2}[self.outcome]

    @property
    def episodes(self) -> int:
        """Episodes in the bundle, as far as it was read."""
        return sum(len(run.episodes) for run in self.bundle.runs) if self.bundle else 0


def verify(
    bundle: Path, *, suites: Sequence[Suite] = (), report: Report | None = None
) -> Verification:
    """Check a bundle from its bytes to its means; nothing is written, and it is never trusted.

    Args:
        bundle: The bundle's file.
        suites: Suites to know besides those that ship; a bundle never brings its own.
        report: Told of progress.
    """
    check = _Check(bundle.name)
    try:
        with bundle.open("rb") as file:
            content = file.read(MAX_BUNDLE_BYTES + 1)  # enough to see that it is too large
    except OSError as error:
        return check.ended("unchecked", reason=f"{bundle} can't be read: {error.strerror}.")
    try:
        return check.run(content, suites, report or _silent)
    except (CannotCheck, ProgymError) as error:
        return check.ended("unchecked", reason=str(error))


def _silent(_what: str, _done: int, _total: int) -> None:
    pass


class _Check:
    """One verification under way."""

    def __init__(self, name: str) -> None:
        self._name, self._stage, self._sha256 = name, "container", ""
        self._bundle: Bundle | None = None

    def run(self, content: bytes, suites: Sequence[Suite], report: Report) -> Verification:
        """Go through the stages."""
        if len(content) <= MAX_BUNDLE_BYTES:
            self._sha256 = hashlib.sha256(content).hexdigest()
        files, findings = read_container(content)
        if findings:
            return self.ended("refused", findings)
        self._stage = "manifest"
        manifest, findings = _read_manifest(files)
        if manifest is None or findings:
            return self.ended("refused", findings)
        self._stage = "text"
        self._bundle, findings = _read_bundle(manifest, files)
        if self._bundle is None:
            return self.ended("refused", findings)
        return self._check_content(self._bundle, suites, report)

    def _check_content(
        self, bundle: Bundle, suites: Sequence[Suite], report: Report
    ) -> Verification:
        self._stage = "identity"
        suite, findings = find_suite(bundle.manifest, suites)
        if suite is None:
            return self.ended("refused", findings)
        findings = check_grid(bundle.manifest, suite)
        if findings:
            return self.ended("refused", findings)
        tasks = install(suite)
        findings = check_runs(bundle, suite, tasks)
        if findings:
            return self.ended("refused", findings)
        self._stage = "replay"
        findings = execute(bundle, tasks, report)
        if findings:
            return self.ended("refused", findings)
        self._stage = "score"
        entries, findings = score_bundle(bundle)
        if findings:
            return self.ended("refused", findings)
        return self.ended("accepted", entries=entries)

    def ended(
        self,
        outcome: Outcome,
        findings: Sequence[Finding] = (),
        *,
        reason: str = "",
        entries: tuple[Entry, ...] = (),
    ) -> Verification:
        """Say how it ended."""
        return Verification(
            name=self._name,
            sha256=self._sha256,
            outcome=outcome,
            stage=self._stage,
            findings=tuple(findings),
            reason=reason,
            bundle=self._bundle,
            entries=entries,
        )


def _read_manifest(files: Mapping[str, bytes]) -> tuple[Manifest | None, list[Finding]]:
    if MANIFEST not in files:
        return None, [found("C16", MANIFEST, expected="a manifest", given="none")]
    manifest, findings = read_document(files[MANIFEST], MANIFEST, Manifest)
    if manifest is None:
        return None, findings
    findings = _check_listing(manifest, files) or _check_listed(manifest, files)
    return manifest, findings + check_shown(manifest)


def _check_listing(manifest: Manifest, files: Mapping[str, bytes]) -> list[Finding]:
    """See that the bundle holds what is listed, and that the list is what the runs call for."""
    called_for = {f"{folder}/{part}" for folder in folders_of(manifest) for part in PARTS}
    listed = Counter(file.path for file in manifest.files)
    findings: list[Finding] = []
    for path in sorted(path for path, times in listed.items() if times > 1):
        findings.append(found("C07", path, expected="listed once", given="listed twice"))
    for path in sorted(called_for - files.keys()):
        findings.append(found("C16", path, expected="a file", given="none"))
    for path in sorted((files.keys() | listed.keys()) - called_for - {MANIFEST}):
        findings.append(found("C15", path, expected="only files of the runs", given=path))
    for path in sorted((called_for & files.keys()) - listed.keys()):
        findings.append(found("C15", path, expected="listed in the manifest", given="not listed"))
    return findings


def _check_listed(manifest: Manifest, files: Mapping[str, bytes]) -> list[Finding]:
    findings: list[Finding] = []
    for listed in manifest.files:
        content = files[listed.path]
        pairs: tuple[tuple[str, object, object], ...] = (
            ("bytes", listed.bytes, len(content)),
            ("lines", listed.lines, content.count(b"\n")),
            ("sha256", listed.sha256, hashlib.sha256(content).hexdigest()),
        )
        findings += [
            found("C17", listed.path, field=field, expected=expected, given=given)
            for field, expected, given in pairs
            if expected != given
        ]
    return findings


def _read_bundle(
    manifest: Manifest, files: Mapping[str, bytes]
) -> tuple[Bundle | None, list[Finding]]:
    runs: list[BundledRun] = []
    findings: list[Finding] = []
    for folder, cell in folders_of(manifest).items():
        run, wrong = _read_run(folder, cell, files)
        findings += wrong
        if run is not None:
            runs.append(run)
    return (None if findings else Bundle(manifest, tuple(runs))), findings


def _read_run(
    folder: str, cell: tuple[str, str, int], files: Mapping[str, bytes]
) -> tuple[BundledRun | None, list[Finding]]:
    paths = [f"{folder}/{part}" for part in PARTS]
    run, findings = read_document(files[paths[0]], paths[0], RunFile)
    program, wrong = read_document(files[paths[1]], paths[1], ProgramFile)
    findings += wrong
    episodes, wrong = read_records(files[paths[2]], paths[2], EpisodeLine)
    findings += wrong
    if run is None or program is None:
        return None, findings
    for field, expected in zip(("task", "strategy", "seed"), cell, strict=True):
        given = vars(run)[field]
        if given != expected:
            findings.append(found("M01", paths[0], field=field, expected=expected, given=given))
    return BundledRun(folder, run, program, tuple(episodes)), findings
