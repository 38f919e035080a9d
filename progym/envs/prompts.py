"""Prompt sets: for every module its instruction and its demos, and nothing else.

A prompt set is what prompt optimization changes. It is plain JSON on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from progym.envs.errors import BadData, DataUnavailable, unknown
from progym.envs.module import Module, Value
from progym.envs.strict_json import parse_object


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

    def check(self, modules: Iterable[Module]) -> None:
        """Hold the set against a program's modules.

        Raises:
            UnknownName: The set has a prompt for a module that the program has not.
            BadData: A demo lacks an input of its module, or has a field that its module has not.
        """
        by_name = {module.name: module for module in modules}
        for name, prompt in self.modules.items():
            if name not in by_name:
                raise unknown("module in the prompt set", name, by_name)
            for number, demo in enumerate(prompt.demos, 1):
                _check_demo(demo, by_name[name], f"Demo {number} of module {name!r}")

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
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def save_prompts(prompts: PromptSet, path: Path) -> None:
    """Write a prompt set as indented JSON; the file appears whole or stays as it was."""
    text = json.dumps(prompts.to_json(), indent=2, ensure_ascii=False) + "\n"
    draft = path.with_name(f".{path.name}.part")
    # What UTF-8 can't hold, half a surrogate pair, is written as JSON's own escape of it.
    draft.write_bytes(text.encode("utf-8", "backslashreplace"))
    draft.replace(path)


def load_prompts(path: Path) -> PromptSet:
    """Read a prompt set written by `save_prompts`; raises BadData or DataUnavailable."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataUnavailable(
            f"The prompt set {path} can't be read ({error.strerror}). Give a file such as the "
            "prompts.json of a saved policy."
        ) from error
    return PromptSet.from_json(parse_object(content, str(path)), str(path))


def _check_demo(demo: Demo, module: Module, origin: str) -> None:
    outputs = [field.name for field in module.outputs]
    if module.input_names ^ demo.inputs.keys() or demo.outputs.keys() - set(outputs):
        raise BadData(
            f"{origin} has the inputs {sorted(demo.inputs)} and the outputs "
            f"{sorted(demo.outputs)}. It needs the inputs {sorted(module.input_names)}, and may "
            f"have the outputs {sorted(outputs)}: correct or remove it."
        )


def _read_prompt(values: dict[str, Any]) -> ModulePrompt:
    _check_keys(values, ("instruction", "demos"))
    demos = tuple(_read_demo(demo) for demo in values.get("demos", []))
    return ModulePrompt(_read_text(values["instruction"]), demos)


def _read_demo(values: dict[str, Any]) -> Demo:
    _check_keys(values, ("inputs", "outputs"))
    return Demo(
        {key: _read_value(value) for key, value in values["inputs"].items()},
        {key: _read_text(value) for key, value in values["outputs"].items()},
    )


def _check_keys(values: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for key in values:
        if key not in allowed:
            raise TypeError(f"unknown key {key!r}, not one of {', '.join(allowed)}")


def _read_value(value: object) -> Value:
    if isinstance(value, list):
        items = cast("list[object]", value)
        return tuple(_read_text(item) for item in items)
    return _read_text(value)


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value
