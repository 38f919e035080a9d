"""Modules: named LM calls with typed fields and an instruction.

A module is called inside a program as `reply = yield generate_query(claim=claim)`; calling it does
not run anything, it makes the invocation that the program hands to its environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast

from progym.envs.errors import BadValue, ProgramFault

Value = str | tuple[str, ...]
"""An input of a call: a text, or several items that are shown one per line."""

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_ONLY_TEXTS = frozenset({str})


class StepType(NamedTuple):
    """What GRPO groups are keyed by: a module and how often it was called before in the episode."""

    module: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.module}:{self.occurrence}"


@dataclass(frozen=True)
class Field:
    """One input or output of a module; `choices` limits an output to these literals."""

    name: str
    description: str = ""
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise BadValue(f"Field name {self.name!r} must be lower_snake_case.")

    @cached_property
    def label(self) -> str:
        """The name as prompts show it: `key_facts` reads `Key facts`."""
        return self.name.replace("_", " ").capitalize()


@dataclass(frozen=True, eq=False)
class Module:
    """A named LM call: input fields, output fields, and the instruction it starts with.

    Modules compare by identity, so that two modules with one signature stay two, and so that what
    is derived from a module can be cached without hashing its fields at every step.
    """

    name: str
    instruction: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise BadValue(f"Module name {self.name!r} must be lower_snake_case.")
        if not self.outputs:
            raise BadValue(f"Module {self.name!r} needs at least one output field.")
        names = [field.name for field in self.inputs + self.outputs]
        if len(set(names)) != len(names):
            raise BadValue(f"Module {self.name!r} uses a field name twice: {names}.")

    def __call__(self, **inputs: Value) -> Invocation:
        """Ask for one call of this module; the program yields what this returns."""
        if inputs.keys() != self.input_names:
            raise ProgramFault(
                f"Module {self.name!r} takes {sorted(self.input_names)}, not {sorted(inputs)}."
            )
        for name, value in inputs.items():
            if type(value) is not str:
                inputs[name] = self._read_items(name, value)
        return Invocation(self, inputs)

    def _read_items(self, name: str, value: object) -> Value:
        if type(value) is tuple:  # nearly always, and then of plain texts
            texts = cast("tuple[str, ...]", value)
            if _ONLY_TEXTS.issuperset(map(type, texts)):
                return texts
        if isinstance(value, str):
            return str(value)
        if isinstance(value, (list, tuple)):
            items = tuple(cast("Sequence[object]", value))
            if all(isinstance(item, str) for item in items):
                return cast("tuple[str, ...]", items)
        raise ProgramFault(
            f"Input {name!r} of module {self.name!r} takes a text or several, got {value!r:.60}."
        )

    @cached_property
    def input_names(self) -> frozenset[str]:
        """The names of the input fields."""
        return frozenset(field.name for field in self.inputs)


class Invocation(NamedTuple):
    """What a program yields to have a module called."""

    module: Module
    inputs: Mapping[str, Value]


class Ask(NamedTuple):
    """What a program or a reward yields to have a service asked."""

    service: str
    request: Mapping[str, object]


def ask(service: str, **request: object) -> Ask:
    """Make a request to a service by its name.

    The program yields it: `titles = yield ask("retriever", query=query, k=3)`.
    """
    return Ask(service, request)
