"""How strategies are written: `po -> mmgrpo`, with `vanilla` for no stage at all.

`mmgrpo@short` is a variant of a stage: it has settings of its own over the stage's. That is a
name for settings and no more: what is done and where it is kept depend on the settings alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from progym.envs.errors import BadValue, unknown

VANILLA = "vanilla"
_ARROW = "->"
_AT = "@"
_VARIANT = re.compile(r"[a-z0-9_]{1,32}\Z")

Settings = Mapping[str, Mapping[str, Any]]
"""Settings by stage and by variant: `mmgrpo`, `mmgrpo@short`."""


def split_strategy(text: str, known: Collection[str]) -> tuple[str, ...]:
    """Split `po -> mmgrpo@short` into stages as written; raises UnknownName or BadValue."""
    names = tuple(part.strip() for part in text.split(_ARROW))
    if names == (VANILLA,):
        return ()
    for name in names:
        if name.partition(_AT)[0] == VANILLA:
            raise BadValue(f"Strategy {text!r}: {VANILLA!r} means no stages and stands alone.")
        stage_of(name, known, besides=(VANILLA,))
    return names


def join_stages(names: Iterable[str]) -> str:
    """Write a strategy in its canonical spelling."""
    return f" {_ARROW} ".join(names) or VANILLA


def stage_of(name: str, known: Collection[str], *, besides: Iterable[str] = ()) -> str:
    """Name the stage behind `mmgrpo` or `mmgrpo@short`; raises UnknownName or BadValue.

    Args:
        name: A stage or a variant.
        known: The stages there are.
        besides: What else the error may propose.
    """
    stage, at, variant = name.partition(_AT)
    if stage not in known:
        raise unknown("stage", stage, [*known, *besides])
    if at and not _VARIANT.match(variant):
        raise BadValue(f"{name!r}: a variant's name must be 1 to 32 of a-z, 0-9 and '_'.")
    return stage


def settings_of(name: str, settings: Settings) -> dict[str, Any]:
    """Give the settings of a stage, a variant's own over them; raises UnknownName for no variant.

    A table among a variant's settings replaces the stage's table as a whole.
    """
    stage, at, _ = name.partition(_AT)
    if at and name not in settings:
        variants = [other for other in settings if other.startswith(f"{stage}{_AT}")]
        raise unknown("variant (it has no settings)", name, [stage, *variants])
    return {**settings.get(stage, {}), **settings.get(name, {})}


def folder_of(strategy: str) -> str:
    """Name a strategy's folder: `po -> mmgrpo@short` lies in `po-mmgrpo.short`."""
    return strategy.replace(f" {_ARROW} ", "-").replace(_AT, ".")
