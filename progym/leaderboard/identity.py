"""Is this the suite, the data and the set of episodes that this installation would run?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import gymnasium

import progym.envs.catalog  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers the ids
from progym.benchmarks.cells import pick_examples, plan_evaluation
from progym.benchmarks.provenance import weights_digest
from progym.benchmarks.suite import Suite, SuiteTask, load_suite, suite_names
from progym.envs.env import ProgramEnv
from progym.envs.errors import BadValue, ProgymError
from progym.leaderboard.bundle import MANIFEST, Bundle, BundledRun, EpisodeLine, Manifest
from progym.leaderboard.findings import Finding, found
from progym.leaderboard.optimized import check_budget, check_policy, stages_of

_TIME = "a time with its zone, such as 2026-01-31T12:00:00+00:00"


@dataclass(frozen=True)
class Installed:
    """A task as this installation has it."""

    setup: SuiteTask
    env: ProgramEnv
    examples: tuple[str, ...]


def find_suite(manifest: Manifest, suites: Sequence[Suite]) -> tuple[Suite | None, list[Finding]]:
    """Find the suite a bundle names, among those given and those that ship."""
    name, digest = manifest.suite.name, manifest.suite.digest
    known = [suite for suite in suites if suite.name == name]
    if name in suite_names():
        known.append(load_suite(name))
    for suite in known:
        if suite.digest == digest:
            return suite, []
    expected = known[0].digest if known else f"one of {', '.join((*suite_names(), 'those given'))}"
    field, given = ("suite.digest", digest) if known else ("suite.name", name)
    return None, [found("M01", MANIFEST, field=field, expected=expected, given=given)]


def install(suite: Suite) -> dict[str, Installed]:
    """Make a suite's environments; raises ProgymError where their data are not here."""
    tasks: dict[str, Installed] = {}
    for setup in suite.tasks:
        env = gymnasium.make(setup.env, **setup.kwargs, split=setup.evaluation.split).unwrapped
        if not isinstance(env, ProgramEnv):
            raise BadValue(f"{setup.env} is not a program environment, so nothing can be replayed.")
        tasks[setup.name] = Installed(setup, env, pick_examples(suite, setup, env.examples.ids))
    return tasks


def check_grid(manifest: Manifest, suite: Suite) -> list[Finding]:
    """See that tasks, strategies, seeds and model are the suite's, and made by known code."""
    pairs: tuple[tuple[str, str, object, object], ...] = (
        ("M01", "suite.version", suite.version, manifest.suite.version),
        ("M01", "tasks", [task.name for task in suite.tasks], manifest.tasks),
        ("M01", "strategies", list(suite.strategies), manifest.strategies),
        ("M11", "seeds", list(suite.seeds), manifest.seeds),
        ("M16", "base_model.name", suite.model, manifest.base_model.name),
    )
    findings = [
        found(code, MANIFEST, field=field, expected=expected, given=given)
        for code, field, expected, given in pairs
        if expected != given
    ]
    weights, here = manifest.base_model.weights_sha256, _weights_here(suite)
    if here and weights and here != weights:
        field = "base_model.weights_sha256"
        findings.append(found("M16", MANIFEST, field=field, expected=here, given=weights))
    if manifest.commit.endswith("+changes"):
        commit = manifest.commit
        findings.append(found("M15", MANIFEST, field="commit", expected="a commit", given=commit))
    if _time(manifest.started) is None:
        given = manifest.started
        findings.append(found("B07", MANIFEST, field="started", expected=_TIME, given=given))
    return findings


def _weights_here(suite: Suite) -> str | None:
    """Hash the weights the suite's model has here; None where they are not: replay needs none."""
    try:
        return weights_digest(suite.model)
    except ProgymError:
        return None


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else None


def check_runs(bundle: Bundle, suite: Suite, tasks: dict[str, Installed]) -> list[Finding]:
    """See that every run is of the suite's data and settings and has exactly its episodes."""
    findings: list[Finding] = []
    for run in bundle.runs:
        installed = tasks[run.run.task]
        wrong = _check_run(run, suite, installed)
        findings += wrong or _check_episodes(run, installed)
    return findings + _check_twins(bundle)


def _check_run(run: BundledRun, suite: Suite, installed: Installed) -> list[Finding]:
    setup, of, file = installed.setup, run.run, f"{run.folder}/run.json"
    evaluation: dict[str, Any] = asdict(setup.evaluation)
    settings = of.evaluation.model_dump()
    pairs: list[tuple[str, str, object, object]] = [
        ("M02", "env_id", setup.env, of.env_id),
        ("M02", "env_kwargs", dict(setup.kwargs), of.env_kwargs),
        ("M04", "evaluation.split", evaluation.pop("split"), settings.pop("split")),
        ("M05", "fingerprint", installed.env.fingerprint, of.fingerprint),
        *(("M14", f"evaluation.{k}", evaluation[k], settings[k]) for k in evaluation),
        ("B05", "stages", stages_of(run, suite), [stage.name for stage in of.stages]),
    ]
    findings = [
        found(code, file, field=field, expected=expected, given=given)
        for code, field, expected, given in pairs
        if expected != given
    ]
    started, ended = _time(of.started), _time(of.ended)
    if started is None or ended is None or ended < started:
        given = f"{of.started}, {of.ended}"
        expected = f"{_TIME}, then one not before it"
        findings.append(found("B07", file, field="started, ended", expected=expected, given=given))
    findings += check_policy(run, suite, installed.env.program.modules)
    return findings or check_budget(run, suite, setup)


def _check_episodes(run: BundledRun, installed: Installed) -> list[Finding]:
    file, repeats = f"{run.folder}/episodes.jsonl", installed.setup.evaluation.repeats
    plan = plan_evaluation(installed.setup, installed.examples, run.run.seed)
    seeds = {
        (wanted.example_id, number % repeats): wanted.seed for number, wanted in enumerate(plan)
    }
    there: Counter[tuple[str, int]] = Counter()
    findings: list[Finding] = []
    for line, episode in enumerate(run.episodes, 1):
        key = (episode.example_id, episode.repeat)
        there[key] += 1
        name = f"{key[0]}, repeat {key[1]}"
        if key not in seeds:
            findings.append(found("M08", file, line=line, field="example_id", given=name))
        elif there[key] > 1:
            findings.append(found("M06", file, line=line, field="example_id", given=name))
        elif episode.seed != seeds[key]:
            given = episode.seed
            findings.append(
                found("M10", file, line=line, field="seed", expected=seeds[key], given=given)
            )
        findings += _check_tokens(episode, installed, file, line)
    for key in seeds:
        if key not in there:
            name = f"{key[0]}, repeat {key[1]}"
            findings.append(found("M07", file, field="example_id", expected=name, given="none"))
    return findings or _check_order(run, list(seeds), file)


def _check_tokens(
    episode: EpisodeLine, installed: Installed, file: str, line: int
) -> list[Finding]:
    most = installed.setup.evaluation.max_completion_length
    findings: list[Finding] = []
    for number, call in enumerate(episode.calls):
        least = 1 if call.completion else 0
        if not least <= call.completion_tokens <= most:
            field, expected = f"calls.{number}.completion_tokens", f"{least} to {most}"
            given = f"{call.completion_tokens}"
            findings.append(
                found("B03", file, line=line, field=field, expected=expected, given=given)
            )
        if call.prompt_tokens == 0:
            field = f"calls.{number}.prompt_tokens"
            findings.append(
                found("B03", file, line=line, field=field, expected="1 or more", given="0")
            )
    return findings


def _check_order(run: BundledRun, order: list[tuple[str, int]], file: str) -> list[Finding]:
    for line, (episode, key) in enumerate(zip(run.episodes, order, strict=True), 1):
        if (episode.example_id, episode.repeat) != key:
            expected, given = f"{key[0]}, repeat {key[1]}", episode.example_id
            return [
                found("M13", file, line=line, field="example_id", expected=expected, given=given)
            ]
    return []


def _check_twins(bundle: Bundle) -> list[Finding]:
    """Find two seeds that sampled the same completions throughout."""
    findings: list[Finding] = []
    first: dict[object, str] = {}
    for run in bundle.runs:
        if run.run.evaluation.temperature == 0:
            continue
        texts = tuple(call.completion for episode in run.episodes for call in episode.calls)
        key = (run.run.task, run.run.strategy, texts)
        twin = first.setdefault(key, run.folder)
        if twin != run.folder and texts:
            file = f"{run.folder}/episodes.jsonl"
            findings.append(found("M12", file, expected="samples of its own", given=twin))
    return findings
