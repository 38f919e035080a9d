"""The evaluations of a prompt search on disk, so that one that was killed goes on from there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from progym.agents.stage import Cost
from progym.agents.storage import cannot_write, write_atomic


@dataclass(frozen=True)
class Evaluation:
    """Scores of one batch of rollouts, as the ledger keeps them."""

    key: str
    scores: tuple[float, ...]
    cost: Cost


class Ledger:
    """The evaluations made so far, one JSON line each; a line cut short by a kill is redone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Evaluation] = {}
        self.cost = Cost()
        if path.exists():
            lines = path.read_text("utf-8").splitlines(True)
            whole = [line for line in lines if line[-1] == "\n"]
            if len(whole) < len(lines):
                write_atomic(path, "".join(whole))
            for line in whole:
                values = json.loads(line)
                entry = Evaluation(values["key"], tuple(values["scores"]), Cost(**values["cost"]))
                self._known[entry.key] = entry

    def find(self, key: str) -> Evaluation | None:
        """Give a recorded evaluation and count its cost."""
        entry = self._known.get(key)
        if entry is not None:
            self.cost += entry.cost
        return entry

    def add(self, entry: Evaluation) -> None:
        """Write an evaluation down and count its cost."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(entry)) + "\n")
        except OSError as error:
            raise cannot_write(self._path, error) from error
        self.cost += entry.cost
