"""Episodes on disk: JSON lines, one episode a line, that survive kills and full disks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from progym.envs.errors import BadData, BadValue, DataUnavailable, RecordingFailed
from progym.envs.records import Episode
from progym.envs.strict_json import dump_line, parse_object


class EpisodeWriter:
    """Appends episodes to a file; what has been written stays valid whatever happens next.

    A line that a kill has cut short is removed when the file is opened again. Text is kept as it
    is, lone surrogates included; two that make a pair are read back as the character they make.
    One writer at a time may have a file open.

    Args:
        path: The file, made with its folders where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        """Episodes in the file, those of earlier writers included."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what was written is with the operating system before `write` returns.
            self._file: BinaryIO = path.open("ab", buffering=0)
            self._size = self._cut_torn_line()
        except OSError as error:
            raise RecordingFailed(f"{path} can't be written: {error.strerror}.") from error

    def write(self, episode: Episode) -> None:
        """Append one episode; where that fails, RecordingFailed, and the file is left valid."""
        try:
            line = dump_line(episode.to_json())
        except (TypeError, ValueError) as error:
            raise BadValue(
                f"The episode of {episode.example_id!r} holds a value that JSON can't: {error}."
            ) from error
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError as error:
            self._restore()
            raise RecordingFailed(
                f"{self.path} can't be written: {error.strerror}. "
                f"{self.count} episodes are safe in it; free some space and run again."
            ) from error
        self._size += len(line)
        self.count += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _cut_torn_line(self) -> int:
        end = 0
        with self.path.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    end += len(line)
                    self.count += 1
        if end < self.path.stat().st_size:
            self._file.truncate(end)
        return end

    def _restore(self) -> None:
        """Take back the part of a line that still fitted on the disk."""
        try:
            self._file.truncate(self._size)
        except OSError as error:
            raise RecordingFailed(
                f"{self.path} can't be written nor cut: {error.strerror}. "
                f"{self.count} episodes are safe in its first {self._size} bytes."
            ) from error


def read_episodes(path: Path) -> Iterator[Episode]:
    """Read the episodes of a file one by one; raises BadData with file and line."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _read_line(line, f"{path}:{number}")
    except OSError as error:
        raise DataUnavailable(f"{path} can't be read: {error.strerror}.") from error


def read_episode(line: bytes, origin: str) -> Episode:
    """Read one line; raises BadData, naming `origin`, for anything but an episode."""
    values = parse_object(line, origin)
    try:
        return Episode.from_json(values)
    except BadData as error:
        raise BadData(f"{origin}: {error}") from error


def _read_line(line: bytes, origin: str) -> Episode:
    try:
        return read_episode(line, origin)
    except BadData as error:
        if line.endswith(b"\n"):
            raise
        raise BadData(
            f"{error} The line is cut short, as by a kill; going on with the run removes it."
        ) from error
