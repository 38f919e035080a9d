"""The one renderer: a prompt set and a call become chat messages.

Sampling, training, prompt search and replay all call `render`. What the calls of a module have in
common (instruction, form of the reply, demos) comes first, so that caches can share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypedDict

from progym.envs.module import Module, StepType, Value
from progym.envs.prompts import ModulePrompt, PromptSet


class Message(TypedDict):
    """One chat message in the shape that chat templates and OpenAI-compatible servers take."""

    role: str
    content: str


@dataclass(frozen=True)
class Call:
    """One invocation of a module: which, how many before it in the episode, and with what."""

    module: Module
    occurrence: int
    inputs: Mapping[str, Value]

    @property
    def step_type(self) -> StepType:
        """The key of this call's GRPO group."""
        return StepType(self.module.name, self.occurrence)

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """The call rendered with the module's own instruction and no demos."""
        return render(self)

    @property
    def text(self) -> str:
        """The messages' contents with a blank line between them: what `env.step` observes."""
        system, user = self.messages
        return f"{system['content']}\n\n{user['content']}"


def render(call: Call, prompts: PromptSet | None = None) -> tuple[Message, ...]:
    """Render a call with a prompt set: system message, demos as turns, then the call's inputs."""
    module = call.module
    user = Message(role="user", content=render_inputs(module, call.inputs))
    if prompts is None or module.name not in prompts.modules:
        return (Message(role="system", content=_plain_system(module)), user)
    return (*render_head(module, prompts.modules[module.name]), user)


def render_head(module: Module, prompt: ModulePrompt) -> tuple[Message, ...]:
    """Render what all calls of a module share: the system message and the demos."""
    head = [Message(role="system", content=_system(module, prompt.instruction))]
    for demo in prompt.demos:
        head.append(Message(role="user", content=render_inputs(module, demo.inputs)))
        head.append(Message(role="assistant", content=render_reply(module, demo.outputs)))
    return tuple(head)


def render_inputs(module: Module, inputs: Mapping[str, Value]) -> str:
    """Render inputs as `Label: value` lines; several items go one per line, numbered."""
    lines: list[str] = []
    for field in module.inputs:
        value = inputs[field.name]
        if isinstance(value, str):
            lines.append(f"{field.label}: {value}")
        else:
            lines.append(f"{field.label}:")
            lines += [f"[{number}] {item}" for number, item in enumerate(value, 1)]
    return "\n".join(lines)


def render_reply(module: Module, outputs: Mapping[str, str]) -> str:
    """Render a reply in the form the parser reads; outputs that are absent are left out."""
    return "\n".join(
        f"{field.label}: {outputs[field.name]}" for field in module.outputs if field.name in outputs
    )


def _system(module: Module, instruction: str) -> str:
    return f"{instruction}\n\n{_reply_form(module)}"


@cache
def _plain_system(module: Module) -> str:
    return _system(module, module.instruction)


@cache
def _reply_form(module: Module) -> str:
    lines = ["Reply in this form:"]
    for field in module.outputs:
        hint = f"one of {', '.join(field.choices)}" if field.choices else field.description
        lines.append(f"{field.label}: <{hint or field.label.lower()}>")
    return "\n".join(lines)
