"""What a bundle says of a run: a cell's record and episodes in the bundle's format."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from progym.benchmarks.cell_record import CellRecord
from progym.envs.errors import BadData, DataUnavailable
from progym.envs.prompts import load_prompts
from progym.envs.recording import read_episodes
from progym.envs.records import CallRecord, Episode
from progym.envs.strict_json import dump_line, parse_object
from progym.leaderboard.bundle import SCHEMA_VERSION, EpisodeLine, hash_prompt


def episode_lines(run: Path, cell: CellRecord) -> list[bytes]:
    """Give a cell's episodes as the bundle's lines; raises BadData where they have changed."""
    path = cell.cell.folder(run) / cell.episodes.file
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataUnavailable(f"{path} can't be read: {error.strerror}.") from error
    if digest != cell.episodes.sha256:
        raise BadData(
            f"{path} has changed since the cell was computed. Delete {path.parent} and go on with "
            "`progym bench run ... --resume`."
        )
    repeats: int = cell.inputs.evaluation["repeats"]
    return [
        _episode_line(episode, number % repeats, f"{path}:{number + 1}")
        for number, episode in enumerate(read_episodes(path))
    ]


def _episode_line(episode: Episode, repeat: int, origin: str) -> bytes:
    values: dict[str, Any] = {
        "example_id": episode.example_id,
        "repeat": repeat,
        "seed": episode.seed,
        "calls": [_call_values(call) for call in episode.calls],
        "asks": [asdict(ask) for ask in episode.asks],
        "status": episode.status,
        "reward": episode.reward,
        "score": episode.score,
        "metrics": dict(episode.metrics),
    }
    check_format(EpisodeLine, values, origin)
    line = dump_line(values)
    if re.search(rb"\\ud[89a-f]", line) and _has_surrogate(values):
        raise BadData(
            f"{origin}: the episode holds half of a surrogate pair, which UTF-8 can't hold and "
            "bundles don't admit. Evaluate with a model or server that writes valid text."
        )
    return line


def _has_surrogate(values: object) -> bool:
    text = json.dumps(values, ensure_ascii=False)
    return any("\ud800" <= character <= "\udfff" for character in text)


def _call_values(call: CallRecord) -> dict[str, Any]:
    return {
        "module": call.module,
        "occurrence": call.occurrence,
        "prompt_digest": hash_prompt(call.prompt),
        "completion": call.completion,
        "fields": dict(call.fields),
        "error": call.error,
        "finish": call.finish,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
    }


def run_values(cell: CellRecord) -> dict[str, Any]:
    """Give the content of run.json."""
    inputs = cell.inputs
    return {
        "schema_version": SCHEMA_VERSION,
        "task": cell.task,
        "strategy": cell.strategy,
        "seed": inputs.seed,
        "env_id": inputs.env_id,
        "env_kwargs": dict(inputs.env_kwargs),
        "fingerprint": inputs.fingerprint,
        "evaluation": dict(inputs.evaluation),
        "stages": [
            {"name": stage.name, "identity": stage.identity, "cost": asdict(stage.cost)}
            for stage in cell.stages
        ],
        "evaluation_cost": asdict(cell.evaluation_cost),
        "score": cell.score,
        "started": cell.provenance.started,
        "ended": cell.provenance.ended,
    }


def program_values(run: Path, cell: CellRecord) -> dict[str, Any]:
    """Give the content of program.json."""
    folder = run / cell.policy_folder
    path = folder / "policy.json"
    try:
        policy = parse_object(path.read_bytes(), str(path))
        adapter = _digest_weights(folder, policy)
    except OSError as error:
        raise DataUnavailable(f"{folder}: the policy can't be read: {error.strerror}.") from error
    return {
        "schema_version": SCHEMA_VERSION,
        "model": policy["model"],
        "adapter_sha256": adapter,
        "prompts": load_prompts(folder / "prompts.json").to_json(),
    }


def _digest_weights(folder: Path, policy: Mapping[str, Any]) -> str | None:
    """Hash the adapter's weights; of several, by module, their hashes."""
    shared, own = policy["adapter"], policy["adapters"]
    found = {
        place: hashlib.sha256((folder / place / "adapter_model.safetensors").read_bytes())
        for place in (*([shared] if shared else []), *own.values())
    }
    if not own:
        return found[shared].hexdigest() if shared else None
    lines = [f"{found[place].hexdigest()} {place}\n" for place in sorted(found)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def to_document(model: type[BaseModel], values: dict[str, Any]) -> bytes:
    """Write values that have a format as indented JSON."""
    check_format(model, values, str(values.get("submission_id", "the run")))
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def check_format(model: type[BaseModel], values: dict[str, Any], origin: str) -> None:
    """Hold what is about to be written against the format, so that a bundle is never stillborn."""
    try:
        model.model_validate(json.loads(json.dumps(values)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadData(f"{origin}: {field} can't be submitted: {first['msg']}.") from error
