"""A run's records as JSON lines, cut back to a checkpoint when the run goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

from progym.agents.storage import cannot_write, write_atomic
from progym.envs.errors import BadData


class JsonLines:
    """Lines that are flushed as they are written; what is not a finite number becomes null.

    Args:
        path: The file.
        keep: Lines to keep of what is there, 0 to begin anew.
    """

    def __init__(self, path: Path, *, keep: int = 0) -> None:
        self._path, self.count = path, keep
        if not keep:
            path.unlink(missing_ok=True)
            return
        try:
            with path.open("rb") as file:
                kept = list(islice(file, keep))
        except OSError as error:
            raise BadData(
                f"{path}: can't be read ({error.strerror}), so the run can't go on."
            ) from error
        if len(kept) < keep:
            raise BadData(f"{path}: has {len(kept)} lines, the run's checkpoint knows of {keep}.")
        write_atomic(path, b"".join(kept))

    def write(self, values: Mapping[str, Any]) -> None:
        """Append a line; raises RecordingFailed."""
        line = json.dumps(_finite(values), ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with self._path.open("ab") as file:
                file.write(line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise cannot_write(self._path, error) from error
        self.count += 1


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        values = cast("Mapping[str, Any]", value)
        return {key: _finite(item) for key, item in values.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in cast("Sequence[Any]", value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
