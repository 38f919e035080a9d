"""Prompt sets: for every module its instruction and its demos, and nothing else.

A prompt set is what prompt optimization changes. It is plain JSON on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from progym.envs.errors import BadData
from progym.envs.module import Module, Value


@dataclass(frozen=True)
class Demo:
    """One worked example of a module: its inputs and the outputs to imitate."""

    inputs: Mapping[str, Value]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class ModulePrompt:
    """The instruction and the demos of one module."""

    instruction: str
    demos: tuple[Demo, ...] = ()


@dataclass(frozen=True)
class PromptSet:
    """Instruction and demos by module name; a module that is absent keeps its own instruction."""

    modules: Mapping[str, ModulePrompt] = field(default_factory=dict[str, ModulePrompt])

    def of(self, module: Module) -> ModulePrompt:
        """Look up a module's prompt, its own plain instruction if the set has none."""
        return self.modules.get(module.name) or ModulePrompt(module.instruction)

    def to_json(self) -> dict[str, Any]:
        """Give the set as plain JSON values."""
        return {
            name: {
                "instruction": prompt.instruction,
                "demos": [
                    {
                        "inputs": {
                            key: value if isinstance(value, str) else list(value)
                            for key, value in demo.inputs.items()
                        },
                        "outputs": dict(demo.outputs),
                    }
                    for demo in prompt.demos
                ],
            }
            for name, prompt in sorted(self.modules.items())
        }

    @staticmethod
    def from_json(values: object, origin: str = "prompt set") -> PromptSet:
        """Read a set back; raises BadData, naming `origin`, if the values are no prompt set."""
        try:
            return PromptSet(
                {name: _read_prompt(prompt) for name, prompt in values.items()}  # type: ignore[attr-defined]
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise BadData(
                f"{origin}: not a prompt set ({error}). Expected "
                '{"<module>": {"instruction": str, "demos": [{"inputs": {}, "outputs": {}}]}}.'
            ) from error

    @cached_property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the set's JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_prompts(prompts: PromptSet, path: Path) -> None:
    """Write a prompt set as indented JSON."""
    path.write_text(json.dumps(prompts.to_json(), indent=2, ensure_ascii=False) + "\n", "utf-8")


def load_prompts(path: Path) -> PromptSet:
    """Read a prompt set written by `save_prompts`; raises BadData."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadData(f"{path}: not JSON ({error}).") from error
    return PromptSet.from_json(values, str(path))


def _read_prompt(values: dict[str, Any]) -> ModulePrompt:
    demos = tuple(
        Demo(
            {key: _read_value(value) for key, value in demo["inputs"].items()},
            {key: _read_text(value) for key, value in demo["outputs"].items()},
        )
        for demo in values.get("demos", [])
    )
    return ModulePrompt(_read_text(values["instruction"]), demos)


def _read_value(value: object) -> Value:
    if isinstance(value, list):
        items = cast("list[object]", value)
        return tuple(_read_text(item) for item in items)
    return _read_text(value)


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value
