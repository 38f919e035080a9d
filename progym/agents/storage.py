"""Files that a kill leaves whole, old or new, never torn; folders held; digests of content."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from progym.envs.errors import BadData, RecordingFailed

if sys.platform != "win32":
    import fcntl


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a whole file: temporary file, fsync, rename; raises RecordingFailed."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # a part of the path may not be a folder
            temporary.unlink()
        raise cannot_write(path, error) from error


def write_json(path: Path, values: Any) -> None:
    """Write indented JSON atomically; NaN and infinities raise ValueError."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # What UTF-8 can't hold, half a surrogate pair, is written as JSON's own escape of it.
    write_atomic(path, text.encode("utf-8", "backslashreplace"))


def read_json(path: Path) -> Any:
    """Read JSON; raises BadData, naming the file, where it is not."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadData(f"{path}: not JSON ({error}).") from error


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Hold a folder, made where it is missing, while others wait; raises RecordingFailed."""
    if sys.platform == "win32":  # has no such locks: there nobody waits
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def cannot_write(path: Path, error: OSError) -> RecordingFailed:
    """Say what could not be written, why, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "the disk is full. Make room and go on with --resume"
    else:
        reason = f"{error.strerror or error}. Check the folder's permissions"
    return RecordingFailed(
        f"Could not write {path}: {reason}; what was written before stays valid."
    )


def digest_of(values: Any) -> str:
    """Give the SHA-256 of JSON values, whatever the order of their keys."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_files(root: Path, files: Iterable[Path]) -> str:
    """Give the SHA-256 of files' names below `root` and contents."""
    total = hashlib.sha256()
    for path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return total.hexdigest()
