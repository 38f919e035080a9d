"""Teachers: other policies, or other prompts, that draw a part of the rollouts.

What a teacher wrote stands in the record under the student's prompt, which is the one trained on,
with the log-probabilities that it was drawn at: the learner weighs tokens by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from progym.agents.identity import identify_policy
from progym.agents.model import GenerationRequest, LanguageModel, Sampling
from progym.agents.models import load_model
from progym.agents.models.routed import RoutedModel
from progym.agents.policy import Policy, load_policy
from progym.agents.storage import digest_of
from progym.envs.errors import BadValue
from progym.envs.prompts import PromptSet, load_prompts
from progym.envs.records import Completion
from progym.envs.rendering import render

if TYPE_CHECKING:
    from progym.agents.models.transformers_lm import TransformersModel


@dataclass(frozen=True)
class Teacher:
    """Where a teacher is kept: a policy's folder, or the file of a prompt set.

    A prompt set is shown to the student's own weights, as they are at each step.
    """

    path: Path
    content: str = ""
    """What is kept there, as a hash; filled in, so that another teacher makes another run."""

    def __post_init__(self) -> None:
        path = Path(self.path)
        if path.is_dir():
            content = identify_policy(load_policy(path))
        else:
            content = digest_of(load_prompts(path).to_json())
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "content", content)


def read_teachers(given: Any) -> tuple[Teacher, ...]:
    """Make teachers of a list of paths; raises BadValue, BadData or DataUnavailable."""
    if not isinstance(given, (list, tuple)):
        raise BadValue(f"teachers must be a list of paths, got {given!r}.")
    places = cast("Sequence[Any]", given)
    return tuple(one if isinstance(one, Teacher) else Teacher(Path(one)) for one in places)


@dataclass(frozen=True)
class Actor:
    """Who draws episodes: a model, and the prompts that it is shown."""

    model: LanguageModel
    prompts: PromptSet


def gather_actors(
    teachers: Sequence[Teacher],
    student: TransformersModel,
    policy: Policy,
    others: Mapping[str, LanguageModel],
) -> list[Actor]:
    """Give the student, then its teachers; `others` answer some modules, whoever draws.

    Raises BadValue for a teacher whose weights are not here, or that has other tokens.
    """

    def route(model: LanguageModel) -> LanguageModel:
        return RoutedModel(model, others) if others else model

    actors = [Actor(route(student), policy.prompts)]
    for teacher in teachers:
        if teacher.path.is_dir():
            theirs = load_policy(teacher.path)
            model, prompts = _load(theirs, student, teacher.path), theirs.prompts
        else:
            model, prompts = student, load_prompts(teacher.path)
        actors.append(Actor(route(TaughtModel(model, student, policy.prompts)), prompts))
    return actors


class TaughtModel:
    """A teacher's model that says what it wrote as if it had been shown the student's prompts.

    Args:
        teacher: Writes the completions.
        student: Whose tokens the prompts are made of.
        prompts: The student's.
    """

    def __init__(
        self, teacher: TransformersModel, student: TransformersModel, prompts: PromptSet
    ) -> None:
        self._teacher, self._student, self._prompts = teacher, student, prompts
        self.name, self.standing = teacher.name, teacher.standing

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling
    ) -> list[Completion]:
        """Complete every request; raises PromptTooLong for either's prompts."""
        asked = [
            request
            if request.call is None
            else replace(request, messages=render(request.call, self._prompts))
            for request in requests
        ]
        rows = self._student.rows(asked, sampling)
        answers = self._teacher.generate(requests, sampling)
        return [
            answer.changed(prompt=request.messages, prompt_ids=row.prompt)
            for request, row, answer in zip(asked, rows, answers, strict=True)
        ]


def _load(policy: Policy, student: TransformersModel, path: Path) -> TransformersModel:
    from progym.agents.models.transformers_lm import TransformersModel

    model = load_model(policy)
    if not isinstance(model, TransformersModel):
        raise BadValue(
            f"The teacher {path} answers with {model.name}: a teacher is one model whose weights "
            "are here, because its tokens and their probabilities are needed."
        )
    if model.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        raise BadValue(
            f"The teacher {path} ({model.name}) has other tokens than {student.name}, so what it "
            "writes can't be trained on. Take a teacher with the same tokenizer."
        )
    return model
