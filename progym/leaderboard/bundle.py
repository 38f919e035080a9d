"""The bundle's format, schema 1: its files, their fields, and the limits they keep.

manifest.json                                    names all other files
runs/<task>/<strategy>/seed-<n>/run.json         what was run, and what it says it cost
runs/<task>/<strategy>/seed-<n>/program.json     the policy: prompt set, adapter digest
runs/<task>/<strategy>/seed-<n>/episodes.jsonl   what the model wrote, one episode a line

What re-execution makes again is left out: of a prompt there is its hash, of tokens their number.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from progym.envs.rendering import Message

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
PARTS = ("run.json", "program.json", "episodes.jsonl")
"""The files of one run."""

MAX_BUNDLE_BYTES = 64 * 2**20
MAX_FILE_BYTES = 64 * 2**20
MAX_UNPACKED_BYTES = 256 * 2**20
MAX_FILES = 4096
MAX_RATIO = 200
MAX_LINE_BYTES = 2**20
MAX_NAME = 80
"""Characters of a text that is shown."""

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0)]
_Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
_Few = Field(min_length=1, max_length=32)


class SuiteRef(BaseModel):
    """The suite that was run."""

    model_config = _STRICT
    name: _Slug
    version: int
    digest: _Sha256


class Entrant(BaseModel):
    """Who submits."""

    model_config = _STRICT
    name: str


class BaseWeights(BaseModel):
    """The language model that every strategy starts from."""

    model_config = _STRICT
    name: str
    weights_sha256: _Sha256 | None


class Claim(BaseModel):
    """A mean over seeds and examples; checked, and never shown in place of ours."""

    model_config = _STRICT
    task: str
    strategy: str
    mean: float


class ListedFile(BaseModel):
    """A file as it must be found."""

    model_config = _STRICT
    path: str
    bytes: _Count
    sha256: _Sha256
    lines: _Count


class Manifest(BaseModel):
    """The content of manifest.json."""

    model_config = _STRICT
    schema_version: int
    submission_id: _Slug
    suite: SuiteRef
    entrant: Entrant
    base_model: BaseWeights
    tasks: Annotated[list[_Slug], _Few]
    strategies: Annotated[list[str], _Few]
    seeds: Annotated[list[int], _Few]
    versions: dict[str, str]
    commit: str
    hardware: dict[str, str | int]
    started: str
    claims: Annotated[list[Claim], Field(max_length=1024)]
    files: Annotated[list[ListedFile], Field(max_length=MAX_FILES)]


class Spent(BaseModel):
    """What something cost, by its own account."""

    model_config = _STRICT
    rollouts: _Count
    calls: _Count
    prompt_tokens: _Count
    completion_tokens: _Count
    seconds: _Seconds


class StageSpent(BaseModel):
    """One stage of the optimization."""

    model_config = _STRICT
    name: str
    identity: str
    cost: Spent


class EvaluationSettings(BaseModel):
    """How the policy was scored."""

    model_config = _STRICT
    split: str
    examples: int
    repeats: int
    temperature: float
    max_completion_length: int


class RunFile(BaseModel):
    """The content of run.json: one strategy on one task with one seed."""

    model_config = _STRICT
    schema_version: int
    task: str
    strategy: str
    seed: int
    env_id: str
    env_kwargs: dict[str, Any]
    fingerprint: str
    evaluation: EvaluationSettings
    stages: list[StageSpent]
    evaluation_cost: Spent
    score: Annotated[float, Field(ge=0, le=1)]
    started: str
    ended: str


class PromptDemo(BaseModel):
    """A worked example in a prompt."""

    model_config = _STRICT
    inputs: dict[str, str | list[str]]
    outputs: dict[str, str]


class PromptOfModule(BaseModel):
    """The instruction and the demos of a module."""

    model_config = _STRICT
    instruction: str
    demos: list[PromptDemo]


class ProgramFile(BaseModel):
    """The content of program.json: the policy that was evaluated."""

    model_config = _STRICT
    schema_version: int
    model: str
    adapter_sha256: _Sha256 | None
    prompts: dict[str, PromptOfModule]


class RecordedCall(BaseModel):
    """One call: what the model wrote, and what was read of it."""

    model_config = _STRICT
    module: str
    occurrence: _Count
    prompt_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    completion: str
    fields: dict[str, str]
    error: str | None
    finish: Literal["stop", "length"]
    prompt_tokens: _Count
    completion_tokens: _Count


class RecordedAsk(BaseModel):
    """One request to a service and its answer."""

    model_config = _STRICT
    service: str
    request: dict[str, Any]
    answer: Any


class EpisodeLine(BaseModel):
    """One line of episodes.jsonl."""

    model_config = _STRICT
    example_id: str
    repeat: _Count
    seed: int
    calls: list[RecordedCall]
    asks: list[RecordedAsk]
    status: Literal["ok", "parse_failure", "truncated"]
    reward: float
    score: Annotated[float, Field(ge=0, le=1)]
    metrics: dict[str, float]


@dataclass(frozen=True)
class BundledRun:
    """The three files of one run, as read."""

    folder: str
    run: RunFile
    program: ProgramFile
    episodes: tuple[EpisodeLine, ...]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose text is in order; whether it is true is another question."""

    manifest: Manifest
    runs: tuple[BundledRun, ...]


def run_folder(task: str, strategy: str, seed: int) -> str:
    """Name the folder of a run within a bundle."""
    dotted = strategy.lower().replace("@", ".")  # a variant's name follows a dot
    slug = re.sub(r"[^a-z0-9._]+", "-", dotted).strip("-._")
    return f"runs/{task}/{slug}/seed-{seed}"


def folders_of(manifest: Manifest) -> dict[str, tuple[str, str, int]]:
    """Name the folders that a manifest calls for, each with its (task, strategy, seed)."""
    return {
        run_folder(task, strategy, seed): (task, strategy, seed)
        for task in manifest.tasks
        for strategy in manifest.strategies
        for seed in manifest.seeds
    }


def hash_prompt(messages: Sequence[Message]) -> str:
    """Hash a prompt: 16 digits of the SHA-256 of its messages as compact ASCII JSON.

    Of a message the role comes first. More digits would not hold off a forger, who can hash too.
    """
    values = [{"role": m["role"], "content": m["content"]} for m in messages]
    return hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).hexdigest()[:16]
