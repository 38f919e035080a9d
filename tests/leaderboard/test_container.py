"""The zip around a bundle: what its names, sizes and bytes may be."""

from __future__ import annotations

import io
import os
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_forger import EPISODES, Forger
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from progym.benchmarks.suite import Suite
from progym.leaderboard import container
from progym.leaderboard.container import read_container, seal, write_container
from progym.leaderboard.verification import verify

GOOD = {"manifest.json": b"{}\n", "runs/a/run.json": b"{}\n"}


def sealed(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    """A zip of these members as they are, with a seal that holds."""
    memory = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of names that stand twice
        for name, content in members:
            archive.writestr(name, content)
    return seal(memory.getvalue())


def member(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def bomb() -> bytes:
    return sealed(("runs/zeros", b"\0" * 10_000_000))


def packed_by(method: int) -> bytes:
    info = zipfile.ZipInfo("a")
    info.compress_type = method
    return sealed((info, b"x" * 100))


def encrypted() -> bytes:
    content = bytearray(sealed(("a", b"x"))[: -container._SEAL_BYTES])
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    content[-2:] = b"\0\0"
    return seal(bytes(content))


def prefixed() -> bytes:
    whole = sealed(("a", b"x"))[: -container._SEAL_BYTES]
    return seal(b"PK\x03\x04 hidden " + whole[:-2] + b"\0\0")


CONTAINERS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "no zip": (lambda: b"hello", "C01", ""),
    "nothing": (lambda: b"", "C01", ""),
    "cut short": (lambda: write_container(GOOD)[:100], "C01", ""),
    "encrypted": (encrypted, "C02", "a"),
    "absolute": (lambda: sealed(("/etc/passwd", b"x")), "C03", "/etc/passwd"),
    "climbing": (lambda: sealed(("runs/../../x", b"x")), "C04", "runs/../../x"),
    "backslash": (lambda: sealed(("runs\\x", b"x")), "C05", "runs\\x"),
    "drive": (lambda: sealed(("c:x", b"x")), "C05", "c:x"),
    "link": (lambda: sealed((member("a", stat.S_IFLNK | 0o777), b"/etc")), "C06", "a"),
    "device": (lambda: sealed((member("a", stat.S_IFCHR | 0o777), b"")), "C06", "a"),
    "folder": (lambda: sealed(("runs/", b"")), "C06", "runs/"),
    "twice": (lambda: sealed(("a", b"1"), ("a", b"2")), "C07", "a"),
    "case": (lambda: sealed(("a", b"1"), ("A", b"2")), "C08", "A"),
    "capital": (lambda: sealed(("Runs", b"1")), "C09", "Runs"),
    "accent": (lambda: sealed(("rüns", b"1")), "C09", "rüns"),
    "deep": (lambda: sealed(("a/b/c/d/e/f/g", b"1")), "C09", "a/b/c/d/e/f/g"),
    "reserved": (lambda: sealed(("nul.json", b"1")), "C09", "nul.json"),
    "dot at the end": (lambda: sealed(("a.", b"1")), "C09", "a."),
    "bomb": (bomb, "C12", "runs/zeros"),
    "bzip2": (lambda: packed_by(zipfile.ZIP_BZIP2), "C12", "a"),
    "lzma": (lambda: packed_by(zipfile.ZIP_LZMA), "C12", "a"),
    "hidden bytes": (prefixed, "C12", ""),
    "nested": (lambda: sealed(("a", write_container(GOOD))), "C14", "a"),
    "litter": (lambda: sealed(("__MACOSX/a", b"1")), "C18", "__MACOSX/a"),
    "no seal": (lambda: sealed(("a", b"1"))[: -container._SEAL_BYTES], "C17", ""),
}


@pytest.mark.parametrize("what", CONTAINERS)
def test_a_container_with_this_is_refused(what: str):
    make, code, file = CONTAINERS[what]

    files, findings = read_container(make())

    assert (findings[0].code, findings[0].file) == (code, file)
    assert files == {} or what == "nested"


@pytest.mark.parametrize(
    ("limit", "code"),
    [("MAX_FILES", "C13"), ("MAX_FILE_BYTES", "C10"), ("MAX_UNPACKED_BYTES", "C11")],
)
def test_limits_hold(limit: str, code: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(container, limit, 1)

    _, findings = read_container(write_container(GOOD))

    assert code in {finding.code for finding in findings}


def test_a_bundle_that_is_too_large_is_refused_before_it_is_opened(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(container, "MAX_BUNDLE_BYTES", 10)

    _, findings = read_container(write_container(GOOD))

    assert [finding.code for finding in findings] == ["C11"]


def test_of_a_huge_file_no_more_is_read_than_tells_its_size(tmp_path: Path):
    huge = tmp_path / "huge.zip"
    huge.touch()
    os.truncate(huge, 2**42)  # a hole: it takes no room on the disk

    verification = verify(huge)

    assert [finding.code for finding in verification.findings] == ["C11"]


def test_what_is_written_is_read_back_and_equal_files_give_equal_bytes():
    content = write_container(GOOD)

    assert read_container(content) == (GOOD, [])
    assert write_container(dict(reversed(GOOD.items()))) == content


def test_an_unlisted_file_is_refused(forger: Forger):
    forger.files["runs/toy/po/seed-1/notes.txt"] = b"x\n"

    finding = forger.verify().findings[0]

    assert (finding.code, finding.file) == ("C15", "runs/toy/po/seed-1/notes.txt")


def test_a_missing_file_is_refused(forger: Forger):
    del forger.files[EPISODES]

    finding = forger.verify().findings[0]

    assert (finding.code, finding.file) == ("C16", EPISODES)


def test_a_missing_manifest_is_refused(golden: Path, tmp_path: Path):
    bare = tmp_path / "bare.zip"
    bare.write_bytes(write_container({"a": b"x"}))

    assert [f.code for f in verify(bare).findings] == ["C16"]


def test_content_other_than_listed_is_refused(forger: Forger, suite: Suite):
    forger.line(1, lambda line: line.update(reward=0.9))  # and the manifest is left as it was

    finding = verify(forger.write(), suites=[suite]).findings[0]

    assert (finding.code, finding.file) == ("C17", EPISODES)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_under_a_new_seal_is_never_a_traceback(data: st.DataObject, golden: Path):
    content = bytearray(golden.read_bytes()[: -container._SEAL_BYTES])
    for _ in range(data.draw(st.integers(1, 4))):
        # Most of what can go wrong stands in the directory at the end.
        back = data.draw(st.integers(1, min(3000, len(content) - 4)))
        content[-back] = data.draw(st.integers(0, 255))

    files, findings = read_container(seal(bytes(content)))

    assert findings or files
