"""The flat family of progym's errors: mistakes of callers and faults of the system.

A model's bad output is never one of them. Every message says what was given, what is allowed and
what to do next. Each class is also a built-in, so `except KeyError` and `except ValueError` keep
working.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ProgymError(Exception):
    """Anything progym raises on purpose; the command line prints it without a traceback."""


class UnknownName(ProgymError, KeyError):
    """A name that is not in the table it was looked up in."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the repr, quotes and all


class BadValue(ProgymError, ValueError):
    """An argument outside what is allowed."""


class PromptTooLong(BadValue):
    """Prompts that do not fit a model's context; `positions` says which of the requests' they are.

    A mistake of the caller at an episode's first call under plain prompts. Later, or with demos,
    the policy has filled its own context.
    """

    def __init__(self, message: str, positions: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.positions = tuple(positions)


class BadData(ProgymError, ValueError):
    """A file whose content is not what its format says; the message names file and line."""


class DataUnavailable(ProgymError, OSError):
    """Data, an index or weights that can't be reached; the message says where to get them."""


class RecordingFailed(ProgymError, OSError):
    """A record that could not be written (disk full, no permission); what is there stays valid."""


class ServiceFault(ProgymError, RuntimeError):
    """A retriever, judge or endpoint that did not answer; worth another try."""


class ProgramFault(ProgymError, RuntimeError):
    """A bug in a program, reward or scripted policy, as against a mistake of the model."""


class Misconfigured(ProgymError, ValueError):
    """Settings with which every request fails alike, such as a wrong key; ends a run at once."""


class TrainingDiverged(ProgymError, ArithmeticError):
    """A loss or gradient that is not a finite number; the weights keep their last good values."""


class MissingExtra(ProgymError, ImportError):
    """An optional package that is not installed; the message names the extra to install."""


def unknown(kind: str, given: object, allowed: Iterable[str]) -> UnknownName:
    """Make the error for a name that is not among `allowed`, with the nearest match."""
    names = sorted(allowed)
    message = f"Unknown {kind} {str(given)!r}. Use one of: {', '.join(names)}."
    near = get_close_matches(str(given), names, n=1)
    return UnknownName(f"{message} Did you mean {near[0]!r}?" if near else message)
