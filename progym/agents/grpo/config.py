"""What an mmGRPO run can be told; TRL's and PEFT's names wherever they have one.

Defaults are the paper's where it gives a value, TRL's elsewhere; a run on a CPU wants fewer steps
and a higher learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, cast, get_args

from progym.agents.grpo.advantages import SCALES, ScaleRewards
from progym.agents.grpo.credit import (
    CREDITS,
    FAILED_RUNS,
    UNREADABLE,
    Credit,
    FailedRuns,
    Unreadable,
)
from progym.agents.grpo.grouping import GROUPINGS, Grouping
from progym.agents.grpo.padding import PADDINGS, Padding
from progym.agents.grpo.selection import SELECTIONS, Selection
from progym.envs.errors import BadValue, unknown

LossType = Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo"]
T = TypeVar("T")
_COUNTS = (
    "max_steps",
    "examples_per_step",
    "num_iterations",
    "max_completion_length",
)


@dataclass(frozen=True)
class GroupRules:
    """How calls become groups; each rule by name or as a function of the same signature."""

    grouping: str | Grouping = "module"
    """What is compared: calls of one (module, occurrence), "module", or runs, "trajectory"."""
    credit: str | Credit = "final"
    """What a call is rewarded with: the run's "final" reward, or what came after it, "to_go"."""
    unreadable: str | Unreadable = "hard"
    """The reward where a completion could not be read: "hard", or "soft" by its missing fields."""
    failed_runs: str | FailedRuns = "whole"
    """What is trained on where a completion could not be read: "whole" or "failing_call"."""
    padding: str | Padding = "fill"
    """For runs that call a module a different number of times: "fill", "truncate", "ragged"."""
    selection: str | Selection = "k_diverse"
    """Who stays where a group has more than num_generations members."""
    rollouts: int | None = None
    """Runs of each example in a step; num_generations if not given."""
    scale_rewards: ScaleRewards = "group"
    """What advantages are divided by: the spread of the "group", of the "batch", or "none"."""

    def __post_init__(self) -> None:
        pick("grouping", self.grouping, GROUPINGS)
        pick("padding", self.padding, PADDINGS)
        pick("selection", self.selection, SELECTIONS)
        pick("credit", self.credit, CREDITS)
        pick("unreadable", self.unreadable, UNREADABLE)
        pick("failed_runs", self.failed_runs, FAILED_RUNS)
        if self.grouping == "trajectory" and self.credit != "final":
            raise BadValue(
                f"grouping 'trajectory' has one advantage for a whole run, so credit must be "
                f"'final', got {self.credit!r}. Take grouping 'module'."
            )
        if self.scale_rewards not in SCALES:
            raise unknown("scale_rewards", self.scale_rewards, SCALES)


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
    max_loss: float = 100.0
    """A loss beyond it, or one that is not finite, stops the run before the update."""

    def __post_init__(self) -> None:
        for name in ("eval_every", "patience", "save_every", "record_every"):
            check(vars(self)[name] >= 0, f"watch.{name}", vars(self)[name], "0 or more")
        check(self.eval_examples >= 1, "watch.eval_examples", self.eval_examples, "1 or more")
        check(self.max_loss > 0, "watch.max_loss", self.max_loss, "above 0")
        if self.patience and not self.eval_every:
            raise BadValue("watch.patience counts evaluations: give watch.eval_every, too.")


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
    lora: Lora = field(default_factory=Lora)
    """The adapter; a table in a file."""
    watch: Watch = field(default_factory=Watch)
    """Evaluations, checkpoints and when to stop; a table in a file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", _read("groups", GroupRules, self.groups))
        object.__setattr__(self, "lora", _read("lora", Lora, self.lora))
        object.__setattr__(self, "watch", _read("watch", Watch, self.watch))
        for name in _COUNTS:
            check(vars(self)[name] >= 1, name, vars(self)[name], "1 or more")
        check(self.num_generations >= 2, "num_generations", self.num_generations, "2 or more")
        for name in ("learning_rate", "max_grad_norm", "epsilon", "temperature"):
            check(vars(self)[name] > 0, name, vars(self)[name], "above 0")
        check(self.beta >= 0, "beta", self.beta, "0 or more")
        check(self.rollouts >= 2, "groups.rollouts", self.rollouts, "2 or more")
        if self.loss_type not in get_args(LossType):
            raise unknown("loss_type", self.loss_type, get_args(LossType))

    @property
    def rollouts(self) -> int:
        """Runs of each example in a step."""
        return self.num_generations if self.groups.rollouts is None else self.groups.rollouts


def pick(kind: str, given: str | T, table: Mapping[str, T]) -> T:
    """Find a strategy by name, or take the function given; raises with the nearest match."""
    if not isinstance(given, str):
        return given
    if given not in table:
        raise unknown(kind, given, table)
    return table[given]


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
