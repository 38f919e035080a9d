"""What a source of data gives a task: a split's examples, a fingerprint, perhaps a corpus."""

from __future__ import annotations

from dataclasses import dataclass

from progym.envs.corpus import Corpus
from progym.envs.examples import Examples


@dataclass(frozen=True)
class TaskData:
    """One split of a task's data."""

    examples: Examples
    fingerprint: str
    """Names the content of the split and its corpus; scores of other fingerprints don't compare."""
    corpus: Corpus | None = None
