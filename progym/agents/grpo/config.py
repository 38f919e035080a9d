"""What an mmGRPO run can be told; TRL's and PEFT's names wherever they have one.

Defaults are the paper's where it gives a value, TRL's elsewhere; a run on a CPU wants fewer steps
and a higher learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, cast, get_args

from progym.agents.grpo.rules import GroupRules
from progym.agents.grpo.teaching import Teacher, read_teachers
from progym.envs.errors import BadValue, unknown

LossType = Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo"]
_ABOVE_0 = ("learning_rate", "max_grad_norm", "epsilon", "temperature")
T = TypeVar("T")
_COUNTS = (
    "max_steps",
    "examples_per_step",
    "num_iterations",
    "max_completion_length",
)


@dataclass(frozen=True)
class Teaching:
    """Who shares the rollouts with the student, and how their tokens count."""

    teachers: tuple[Teacher, ...] = ()
    """Policies' folders, or files of prompt sets; all draw equally many runs, the student too."""
    importance_sampling_cap: float = 3.0
    """The largest weight of a teacher's token: how much likelier the student was to draw it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "teachers", read_teachers(self.teachers))
        cap = self.importance_sampling_cap
        check(cap > 0, "teaching.importance_sampling_cap", cap, "above 0")


@dataclass(frozen=True)
class Lora:
    """The adapters that are trained; PEFT's names where it has one."""

    r: int = 16
    """Rank."""
    lora_alpha: float = 64
    """The adapter's output is scaled by lora_alpha / r."""
    lora_dropout: float = 0.0
    """0 so that runs repeat and sampling and training see one policy; the paper has 0.05."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Layers that get an adapter; "all-linear" is all but the head."""
    per_module: bool = False
    """One adapter for each module instead of one for all."""
    frozen: tuple[str, ...] = ()
    """Modules that stay as they are: they answer, and learn nothing."""

    def __post_init__(self) -> None:
        check(self.r >= 1, "r", self.r, "1 or more")
        check(self.lora_alpha > 0, "lora_alpha", self.lora_alpha, "above 0")
        check(0 <= self.lora_dropout < 1, "lora_dropout", self.lora_dropout, "in [0, 1)")
        if isinstance(self.frozen, str):
            raise BadValue(f"lora.frozen must be a list of modules, got {self.frozen!r}.")
        object.__setattr__(self, "frozen", tuple(self.frozen))


@dataclass(frozen=True)
class Watch:
    """How a run is evaluated, kept and stopped."""

    eval_every: int = 0
    """Steps between evaluations on val, one before the first and one after the last; 0 for none."""
    eval_examples: int = 100
    """At most; the first examples of the val split, with the same seeds each time."""
    keep_best: bool = True
    """Where there are evaluations, end with the adapter that scored best, not with the last."""
    patience: int = 0
    """Evaluations in a row without a new best after which the run stops; 0 for never."""
    save_every: int = 10
    """Steps between checkpoints, from which a killed run goes on; 0 for none."""
    record_every: int = 10
    """Steps between those whose episodes are kept, of one example, for reports; 0 for none."""
    report_to: tuple[str, ...] = ()
    """Where else records go, by TRL's names ("tensorboard", "wandb"): those of modules, too."""
    max_loss: float = 100.0
    """A loss beyond it, or one that is not finite, stops the run before the update."""

    def __post_init__(self) -> None:
        for name in ("eval_every", "patience", "save_every", "record_every"):
            check(vars(self)[name] >= 0, f"watch.{name}", vars(self)[name], "0 or more")
        check(self.eval_examples >= 1, "watch.eval_examples", self.eval_examples, "1 or more")
        check(self.max_loss > 0, "watch.max_loss", self.max_loss, "above 0")
        if self.patience and not self.eval_every:
            raise BadValue("watch.patience counts evaluations: give watch.eval_every, too.")
        names = (self.report_to,) if isinstance(self.report_to, str) else tuple(self.report_to)
        object.__setattr__(self, "report_to", names)


@dataclass(frozen=True)
class GrpoConfig:
    """One mmGRPO run."""

    max_steps: int = 750
    """Batches of rollouts, each followed by num_iterations updates."""
    examples_per_step: int = 4
    """Examples a step draws, in shuffled epochs over the train split."""
    num_generations: int = 12
    """Members of a group (the paper's G)."""
    num_iterations: int = 1
    """Updates on each batch of rollouts."""
    learning_rate: float = 1e-5
    """AdamW's, constant after a short warm-up."""
    max_grad_norm: float = 0.1
    """Gradients are scaled down to this norm."""
    beta: float = 0.04
    """Weight of the KL term that keeps the policy near the one it started from; 0 leaves it out."""
    epsilon: float = 0.2
    """Clip range of the probability ratio; cispo has a limit of its own."""
    loss_type: LossType = "grpo"
    """How token losses are averaged; TRL's names."""
    temperature: float = 0.6
    """Of sampling, and so of the policy that is trained."""
    max_completion_length: int = 256
    """Tokens a call may write."""
    groups: GroupRules = field(default_factory=GroupRules)
    """Grouping, padding, selection and scaling; a table in a file."""
    teaching: Teaching = field(default_factory=Teaching)
    """Who shares the rollouts with the student; a table in a file."""
    lora: Lora = field(default_factory=Lora)
    """The adapter; a table in a file."""
    watch: Watch = field(default_factory=Watch)
    """Evaluations, checkpoints and when to stop; a table in a file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", _read("groups", GroupRules, self.groups))
        object.__setattr__(self, "teaching", _read("teaching", Teaching, self.teaching))
        object.__setattr__(self, "lora", _read("lora", Lora, self.lora))
        object.__setattr__(self, "watch", _read("watch", Watch, self.watch))
        for name in _COUNTS:
            check(vars(self)[name] >= 1, name, vars(self)[name], "1 or more")
        check(self.num_generations >= 2, "num_generations", self.num_generations, "2 or more")
        for name in _ABOVE_0:
            check(vars(self)[name] > 0, name, vars(self)[name], "above 0")
        check(self.beta >= 0, "beta", self.beta, "0 or more")
        check(self.rollouts >= 2, "groups.rollouts", self.rollouts, "2 or more")
        teachers = len(self.teaching.teachers)
        allowed = f"more than the {teachers} teachers"
        check(self.rollouts > teachers, "groups.rollouts", self.rollouts, allowed)
        if self.loss_type not in get_args(LossType):
            raise unknown("loss_type", self.loss_type, get_args(LossType))

    @property
    def rollouts(self) -> int:
        """Runs of each example in a step."""
        return self.num_generations if self.groups.rollouts is None else self.groups.rollouts


def config_from(values: Mapping[str, Any]) -> GrpoConfig:
    """Read a config from plain values; raises for an unknown key with the nearest match."""
    return _read("mmgrpo", GrpoConfig, values)


def check(holds: bool, name: str, given: object, allowed: str) -> None:
    """Raise where a value is outside what is allowed."""
    if not holds:
        raise BadValue(f"{name} must be {allowed}, got {given!r}.")


def _read(table: str, kind: type[T], given: T | Mapping[str, Any]) -> T:
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise BadValue(f"{table} must be a table or a {kind.__name__}, got {given!r}.")
    values = cast("Mapping[str, Any]", given)
    allowed = [item.name for item in fields(kind)]  # pyright: ignore[reportArgumentType]
    for name in values:
        if name not in allowed:
            raise unknown(f"setting of {table}", name, allowed)
    return kind(**values)
