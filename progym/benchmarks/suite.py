"""Suites: which strategies are compared on which tasks, with which seeds, and how they are scored.

A suite is a TOML file, ours in `suites/` or a user's own. It holds values only, and a key that does
not exist is an error.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast

from progym.agents.model import Sampling
from progym.agents.notation import Settings, join_stages, split_strategy, stage_of
from progym.agents.storage import digest_of
from progym.agents.strategy import STAGES, StageEntry, Strategy, plan_strategy
from progym.envs.errors import BadData, BadValue, DataUnavailable, unknown

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_SPLITS = ("train", "val", "test")
_SHIPPED = files("progym.benchmarks") / "suites"


@dataclass(frozen=True)
class _Kind:
    """What the value of a key may be, in words and as types that TOML gives."""

    words: str
    types: tuple[type, ...]
    inner: type | None = None
    """The type of what a list or a table holds."""

    def fits(self, value: Any) -> bool:
        """Whether a value is of this kind; true and false are no numbers."""
        if type(value) not in self.types:
            return False
        if self.inner is None:
            return True
        held: Any = cast("dict[str, Any]", value).values() if isinstance(value, dict) else value
        return all(type(item) is self.inner for item in held)


_TEXT, _WHOLE = _Kind("a text", (str,)), _Kind("a whole number", (int,))
_TABLE, _TABLES = _Kind("a table", (dict,)), _Kind("a table of tables", (dict,), dict)
_EVALUATION = {
    "split": _TEXT,
    "examples": _WHOLE,
    "repeats": _WHOLE,
    "temperature": _Kind("a number", (int, float)),
    "max_completion_length": _WHOLE,
}
_TASK = {"name": _TEXT, "env": _TEXT, "kwargs": _TABLE, "evaluation": _TABLE, "stages": _TABLES}
_SUITE = {
    "name": _TEXT,
    "version": _WHOLE,
    "description": _TEXT,
    "model": _TEXT,
    "strategies": _Kind("a list of texts", (list,), str),
    "seeds": _Kind("a list of whole numbers", (list,), int),
    "tasks": _Kind("a list of tables", (list,), dict),
    "evaluation": _TABLE,
    "stages": _TABLES,
}
"""The keys of a suite, of a task and of an evaluation."""


@dataclass(frozen=True)
class Evaluation:
    """How a policy is scored: on which examples, how often, with what sampling."""

    split: Literal["train", "val", "test"] = "test"
    examples: int = 100
    """Drawn by a generator of (suite, task, split); the whole split if it has fewer."""
    repeats: int = 1
    """Episodes of each example; their scores are averaged."""
    temperature: float = 0.0
    max_completion_length: int = 64

    def __post_init__(self) -> None:
        if self.split not in _SPLITS:
            raise unknown("split", self.split, _SPLITS)
        if self.examples < 1 or self.repeats < 1:
            raise BadValue("An evaluation needs examples and repeats of 1 or more.")
        _ = self.sampling

    @property
    def sampling(self) -> Sampling:
        """Give the sampling as language models take it."""
        return Sampling(self.temperature, self.max_completion_length)


@dataclass(frozen=True)
class SuiteTask:
    """One task of a suite: an environment, its arguments, and its own settings."""

    name: str
    """How folders and tables call it."""
    env: str
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    evaluation: Evaluation = field(default_factory=Evaluation)
    stages: Settings = field(default_factory=dict[str, Mapping[str, Any]])
    """The suite's settings with the task's own over them."""

    def __post_init__(self) -> None:
        _check_name("task", self.name)
        if "split" in self.kwargs:
            raise BadValue(
                f"Task {self.name!r}: the split is not one of kwargs; set evaluation.split."
            )


@dataclass(frozen=True)
class Suite:
    """A grid of tasks, strategies and seeds."""

    name: str
    version: int
    description: str
    model: str
    strategies: tuple[str, ...]
    """In canonical spelling, `po -> mmgrpo@short`."""
    seeds: tuple[int, ...]
    tasks: tuple[SuiteTask, ...]

    def __post_init__(self) -> None:
        _check_name("suite", self.name)
        for what, values in (
            ("strategies", self.strategies),
            ("seeds", self.seeds),
            ("tasks", tuple(task.name for task in self.tasks)),
        ):
            if not values or len(set(values)) != len(values):
                raise BadValue(f"Suite {self.name!r} needs {what}, each once; got {list(values)}.")

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the description; equal digests, equal results."""
        values = asdict(self)
        del values["description"]
        return digest_of(values)

    def task(self, name: str) -> SuiteTask:
        """Look up a task by name."""
        tasks = {task.name: task for task in self.tasks}
        if name not in tasks:
            raise unknown("task", name, tasks)
        return tasks[name]

    def plan(
        self, task: SuiteTask, strategy: str, known: Mapping[str, StageEntry] = STAGES
    ) -> Strategy:
        """Configure a strategy for a task."""
        return plan_strategy(strategy, task.stages, known=known)


def suite_names() -> tuple[str, ...]:
    """Name the suites that ship."""
    names = (path.name for path in _SHIPPED.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_suite(name: str, known: Mapping[str, StageEntry] = STAGES) -> Suite:
    """Read a suite that ships, by name, or one of your own, by the path of its `.toml` file."""
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise DataUnavailable(f"There is no suite file {name}. Suites that ship: {_listed()}.")
        content = path.read_bytes()
    elif name in suite_names():
        content = (_SHIPPED / f"{name}.toml").read_bytes()
    else:
        raise unknown("suite", name, [*suite_names(), "<path>.toml"])
    try:
        return read_suite(tomllib.loads(content.decode("utf-8")), known)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadData(f"Suite {name}: not TOML ({error}).") from error


def read_suite(values: Mapping[str, Any], known: Mapping[str, StageEntry] = STAGES) -> Suite:
    """Make a suite of TOML values; raises UnknownName for keys that do not exist, or BadData."""
    _check_keys("key of a suite", values, _SUITE)
    for key in ("name", "model", "strategies", "seeds", "tasks"):
        if key not in values:
            raise BadData(f"A suite needs the key {key!r}; it has {', '.join(sorted(values))}.")
    strategies = tuple(join_stages(split_strategy(text, known)) for text in values["strategies"])
    return Suite(
        name=values["name"],
        version=values.get("version", 1),
        description=values.get("description", ""),
        model=values["model"],
        strategies=strategies,
        seeds=tuple(values["seeds"]),
        tasks=tuple(_read_task(task, values, known) for task in values["tasks"]),
    )


def _read_task(
    values: Mapping[str, Any], suite: Mapping[str, Any], known: Mapping[str, StageEntry]
) -> SuiteTask:
    _check_keys("key of a task", values, _TASK)
    for key in ("name", "env"):
        if key not in values:
            raise BadData(f"A task needs the key {key!r}; it has {', '.join(sorted(values))}.")
    evaluation = {**suite.get("evaluation", {}), **values.get("evaluation", {})}
    _check_keys("evaluation setting", evaluation, _EVALUATION)
    general, own = suite.get("stages", {}), values.get("stages", {})
    for name in {**general, **own}:
        stage_of(name, known)
    stages = {name: {**general.get(name, {}), **own.get(name, {})} for name in {**general, **own}}
    return SuiteTask(
        name=values["name"],
        env=values["env"],
        kwargs=values.get("kwargs", {}),
        evaluation=Evaluation(**evaluation),
        stages=stages,
    )


def _check_keys(kind: str, values: Mapping[str, Any], allowed: Mapping[str, _Kind]) -> None:
    for key, value in values.items():
        if key not in allowed:
            raise unknown(kind, key, allowed)
        if not allowed[key].fits(value):
            raise BadData(f"The {kind} {key!r} takes {allowed[key].words}, got {value!r:.80}.")


def _check_name(kind: str, name: str) -> None:
    if not _NAME.match(name):
        raise BadValue(
            f"The name of a {kind}, {name!r}, must be 1 to 64 of a-z, 0-9, '.', '_' and '-'."
        )


def _listed() -> str:
    return ", ".join(suite_names())
