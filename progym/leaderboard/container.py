"""The zip around a bundle: written the same way every time, and read without trusting any of it.

Names and sizes are checked here, in memory; nothing is ever extracted. The archive's comment is a
seal, the hash of all bytes before it, so that any damage shows. A forger can make a new seal, which
is why everything else is checked too.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping

from progym.leaderboard.bundle import (
    MANIFEST,
    MAX_BUNDLE_BYTES,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_RATIO,
    MAX_UNPACKED_BYTES,
)
from progym.leaderboard.findings import BUNDLE, Finding, Unusable, found

_SEAL = re.compile(rb"progym-bundle sha256:([0-9a-f]{64})\Z")
_SEAL_BYTES = len(b"progym-bundle sha256:") + 64
_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_MAX_PARTS = 6
_RESERVED = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}
_LITTER = {"__macosx", ".ds_store", "thumbs.db", "desktop.ini"}
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")
_TORN = (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, IndexError)
"""What zipfile raises for archives that are not what they say; struct.error becomes BadZipFile."""


def seal(archive: bytes) -> bytes:
    """Give a zip without a comment its seal."""
    length = _SEAL_BYTES.to_bytes(2, "little")
    body = archive[:-2] + length
    return body + b"progym-bundle sha256:" + hashlib.sha256(body).hexdigest().encode()


def write_container(files: Mapping[str, bytes]) -> bytes:
    """Make a bundle's bytes: equal files, equal bytes (with one version of zlib)."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in sorted(files, key=lambda name: (name != MANIFEST, name)):
            info = zipfile.ZipInfo(name)  # dated 1980-01-01, as nothing in a bundle has a date
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[name], compresslevel=9)
    return seal(memory.getvalue())


def read_container(content: bytes) -> tuple[dict[str, bytes], list[Finding]]:
    """Read a bundle's files into memory, with what is wrong with their container."""
    try:
        _check_whole(content)
        archive = zipfile.ZipFile(io.BytesIO(content))
    except Unusable as error:
        return {}, [error.finding]
    except _TORN as error:
        return {}, [found("C01", BUNDLE, expected="a zip file", given=str(error))]
    with archive:
        members = archive.infolist()
        findings = _check_names(members) + _check_sizes(members) + _check_layout(members, content)
        if findings:
            return {}, findings
        return _read_members(archive)


def _check_whole(content: bytes) -> None:
    if len(content) > MAX_BUNDLE_BYTES:
        raise Unusable(
            found("C11", BUNDLE, expected=f"at most {MAX_BUNDLE_BYTES} bytes", given="more")
        )
    if not content.startswith(b"PK\x03\x04"):
        raise Unusable(found("C01", BUNDLE, expected="a zip file", given=content[:8]))
    if b"PK\x05\x06" not in content[-(2**16) :]:
        raise Unusable(found("C01", BUNDLE, expected="a whole zip file", given="one cut short"))
    sealed = _SEAL.search(content, max(0, len(content) - _SEAL_BYTES))
    if sealed is None:
        raise Unusable(found("C17", BUNDLE, field="seal", expected="a seal", given="none"))
    digest = hashlib.sha256(content[:-_SEAL_BYTES]).hexdigest()
    if sealed[1].decode() != digest:
        raise Unusable(
            found("C17", BUNDLE, field="seal", expected=sealed[1].decode(), given=digest)
        )


def _check_names(members: list[zipfile.ZipInfo]) -> list[Finding]:
    names = [member.orig_filename for member in members]
    findings: list[Finding] = []
    if len(names) > MAX_FILES:
        findings.append(found("C13", BUNDLE, expected=f"{MAX_FILES} files", given=f"{len(names)}"))
    for name, times in Counter(names).items():
        if times > 1:
            findings.append(found("C07", name, expected="once", given=f"{times} times"))
    folded = Counter(unicodedata.normalize("NFKC", name).casefold() for name in set(names))
    for name in sorted(set(names)):
        if folded[unicodedata.normalize("NFKC", name).casefold()] > 1:
            findings.append(found("C08", name, expected="a name of its own", given=name))
    for member in members:
        code = _name_code(member.orig_filename) or _kind_code(member)
        if code:
            findings.append(found(code, member.orig_filename, given=member.orig_filename))
    return findings


def _name_code(name: str) -> str | None:
    parts = name.split("/")
    if name.startswith("/"):
        return "C03"
    if ".." in parts:
        return "C04"
    if "\\" in name or re.match(r"[A-Za-z]:", name):
        return "C05"
    if name.endswith("/"):
        return "C06"
    if any(part.lower() in _LITTER or part.startswith(".") for part in parts):
        return "C18"
    allowed = len(parts) <= _MAX_PARTS and all(
        _PART.match(part) and not part.endswith(".") and part.split(".")[0] not in _RESERVED
        for part in parts
    )
    return None if allowed else "C09"


def _kind_code(member: zipfile.ZipInfo) -> str | None:
    if member.flag_bits & 0x41:
        return "C02"
    mode = member.external_attr >> 16
    # DOS attributes (the low byte) mark folders, 0x10, and devices, 0x40.
    if (stat.S_IFMT(mode) not in (0, stat.S_IFREG)) or member.external_attr & 0x50:
        return "C06"
    return None


def _check_sizes(members: list[zipfile.ZipInfo]) -> list[Finding]:
    findings: list[Finding] = []
    for member in members:
        name, size = member.orig_filename, member.file_size
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # bzip2 and lzma would unpack more than is asked for before they could be stopped.
            given = f"method {member.compress_type}"
            findings.append(found("C12", name, expected="stored or deflated", given=given))
        elif size > MAX_FILE_BYTES:
            findings.append(found("C10", name, expected=f"{MAX_FILE_BYTES} bytes", given=f"{size}"))
        elif size > 10_000 and size > MAX_RATIO * max(1, member.compress_size):
            given = f"{size} bytes out of {member.compress_size}"
            findings.append(found("C12", name, expected=f"a ratio up to {MAX_RATIO}", given=given))
    total = sum(member.file_size for member in members)
    if total > MAX_UNPACKED_BYTES:
        findings.append(found("C11", BUNDLE, expected=f"{MAX_UNPACKED_BYTES}", given=f"{total}"))
    return findings


def _check_layout(members: list[zipfile.ZipInfo], content: bytes) -> list[Finding]:
    """See that members lie side by side from the first byte on: nothing hides between them."""
    at = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset != at or member.extra or member.comment:
            given = f"{member.orig_filename} at byte {member.header_offset}"
            return [found("C12", BUNDLE, expected=f"a file at byte {at}", given=given)]
        at += 30 + len(member.orig_filename.encode()) + member.compress_size
    if content[at : at + 4] != b"PK\x01\x02":
        return [found("C12", BUNDLE, expected=f"the directory at byte {at}", given="other bytes")]
    return []


def _read_members(archive: zipfile.ZipFile) -> tuple[dict[str, bytes], list[Finding]]:
    files: dict[str, bytes] = {}
    findings: list[Finding] = []
    for member in archive.infolist():
        name = member.orig_filename
        try:
            with archive.open(member) as stream:
                content = stream.read(member.file_size + 1)
        except (*_TORN, zlib.error, RuntimeError) as error:
            findings.append(found("C17", name, expected="readable content", given=str(error)))
            continue
        if len(content) != member.file_size:
            expected = f"{member.file_size} bytes"
            findings.append(found("C12", name, expected=expected, given=f"{len(content)}"))
        elif content.startswith(_ARCHIVES):
            findings.append(found("C14", name, expected="text", given=content[:6]))
        files[name] = content
    return files, findings
