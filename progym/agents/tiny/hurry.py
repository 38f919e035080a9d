"""Hurried writers: words left out of pretraining inputs, so that reading does not hang on frames.

A model this small learns whole sentences by heart if it can, and then knows none of another split.
With words missing it must go by the ones that carry the meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from progym.envs.module import Value

_SMALL_WORDS = (
    "a an the of is as for by at in on to that has was its one who whose which named with and"
)
HURRIED = 0.5
"""The share of calls whose writers are in a hurry."""


def leave_out(
    module: str, inputs: Mapping[str, Value], rng: np.random.Generator
) -> dict[str, Value]:
    """Leave words out of some calls' inputs: any word of a customer, small words of an article."""
    if module not in ("classify", "append_notes", "generate_query") or rng.random() > HURRIED:
        return dict(inputs)
    small_only = module != "classify"
    return {
        name: _thin(value, small_only, rng)
        if isinstance(value, str)
        else tuple(_thin(item, small_only, rng) for item in value)
        for name, value in inputs.items()
        if name != "key_facts"
    } | {name: value for name, value in inputs.items() if name == "key_facts"}


def _thin(text: str, small_only: bool, rng: np.random.Generator) -> str:
    words = text.split(" ")
    share = 0.2 if small_only else 0.3
    kept = [
        word
        for word in words
        if (small_only and f" {word.lower()} " not in f" {_SMALL_WORDS} ") or rng.random() > share
    ]
    return " ".join(kept) if len(kept) >= 3 else text
