"""Executes recorded episodes again: the real program and reward, fed with the recorded completions.

What the model wrote is taken as it is; everything that follows from it must come out the same. What
an endpoint answered follows from nothing here, so runs that asked one can't be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from progym.envs.prompts import PromptSet
from progym.envs.records import Completion
from progym.envs.rendering import render
from progym.envs.run import ProgramRun
from progym.leaderboard.bundle import Bundle, EpisodeLine, RecordedCall, hash_prompt
from progym.leaderboard.findings import CODES, Finding, found
from progym.leaderboard.identity import Installed

TOLERANCE = 1e-9
"""How far numbers may be off: sums may round otherwise on another machine."""

Report = Callable[[str, int, int], None]
"""Told of progress: what is being done, how much is done, of how much."""


class CannotCheck(Exception):
    """This installation failed, not the bundle; never leaves the leaderboard."""


@dataclass(frozen=True)
class _Place:
    """Where an episode stands, and what it is executed with."""

    file: str
    line: int
    installed: Installed
    prompts: PromptSet

    def found(self, code: str, field: str, expected: object, given: object) -> Finding:
        return found(code, self.file, line=self.line, field=field, expected=expected, given=given)


def execute(bundle: Bundle, tasks: Mapping[str, Installed], report: Report) -> list[Finding]:
    """Execute every episode; raises CannotCheck where this installation fails or can't repeat."""
    for name, task in tasks.items():
        _check_services(name, task)
    total = sum(len(run.episodes) for run in bundle.runs)
    findings: list[Finding] = []
    done = 0
    for run in bundle.runs:
        prompts = PromptSet.from_json(run.program.model_dump()["prompts"])
        file = f"{run.folder}/episodes.jsonl"
        for line, episode in enumerate(run.episodes, 1):
            place = _Place(file, line, tasks[run.run.task], prompts)
            wrong = _execute(episode, place)
            if wrong is not None and _execute(episode, place) != wrong:
                raise CannotCheck(
                    f"R10, {CODES['R10'][0]}: {file}:{line} came out differently when executed "
                    "twice. That is a bug of the environment; please report it."
                )
            findings += [wrong] if wrong else []
            done += 1
            report("re-executing", done, total)
    return findings


def _execute(episode: EpisodeLine, place: _Place) -> Finding | None:
    """Execute one episode up to the first thing that differs."""
    env = place.installed.env
    run = ProgramRun(
        env.program,
        env.examples.by_id(episode.example_id),
        env.score,
        env.services,
        limits=env.limits,
        failure_reward=env.failure_reward,
    )
    for number, call in enumerate(episode.calls):
        wrong = _compare_asks(episode, run, place) or _compare_call(call, number, run, place)
        if wrong:
            return wrong
    return _compare_asks(episode, run, place) or _compare_end(episode, run, place)


def _compare_call(
    call: RecordedCall, number: int, run: ProgramRun, place: _Place
) -> Finding | None:
    pending, at = run.call, f"calls.{number}"
    given = f"{call.module}:{call.occurrence}"
    if pending is None:
        _check_fault(run, place)
        return place.found("R02", at, f"the end ({run.status})", given)
    if given != str(pending.step_type):
        return place.found("R02", at, str(pending.step_type), given)
    prompt = render(pending, place.prompts)
    digest = hash_prompt(prompt)
    if digest != call.prompt_digest:
        return place.found("R01", f"{at}.prompt_digest", digest, call.prompt_digest)
    usage = (call.prompt_tokens, call.completion_tokens)
    run.reply(Completion(call.completion, prompt=prompt, usage=usage, finish=call.finish))
    made = run.calls[-1]
    if dict(made.fields) != call.fields:
        return place.found("R04", f"{at}.fields", dict(made.fields), call.fields)
    if made.error != call.error:
        return place.found("R04", f"{at}.error", made.error, call.error)
    return None


def _compare_asks(episode: EpisodeLine, run: ProgramRun, place: _Place) -> Finding | None:
    for number, (made, ask) in enumerate(zip(run.asks, episode.asks, strict=False)):
        given = (ask.service, ask.request, ask.answer)
        expected = (made.service, dict(made.request), made.answer)
        if expected != given:
            return place.found("R03", f"asks.{number}", expected, given)
    return None


def _compare_end(episode: EpisodeLine, run: ProgramRun, place: _Place) -> Finding | None:
    if run.call is not None:
        given = f"{len(episode.calls)} calls"
        return place.found("R02", "calls", f"a call of {run.call.step_type}", given)
    _check_fault(run, place)
    if len(run.asks) != len(episode.asks):
        return place.found("R03", "asks", f"{len(run.asks)} requests", f"{len(episode.asks)}")
    if run.status != episode.status:
        return place.found("R09", "status", run.status, episode.status)
    if abs(run.reward - episode.reward) > TOLERANCE:
        return place.found("R05", "reward", run.reward, episode.reward)
    if run.score is None or abs(run.score - episode.score) > TOLERANCE:
        return place.found("R05", "score", run.score, episode.score)
    return _compare_metrics(episode, run, place)


def _compare_metrics(episode: EpisodeLine, run: ProgramRun, place: _Place) -> Finding | None:
    for name in sorted({*run.metrics, *episode.metrics}):
        made, given = run.metrics.get(name), episode.metrics.get(name)
        if made is None or given is None or abs(made - given) > TOLERANCE:
            return place.found("R05", f"metrics.{name}", made, given)
    return None


def _check_services(task: str, installed: Installed) -> None:
    for name, service in installed.env.services.items():
        if not service.deterministic:
            raise CannotCheck(
                f"Task {task!r} asks an endpoint ({name}), whose recorded answers could be made "
                "up: asking it again is not there yet. Pack a run whose services answer the same "
                "each time, such as those on embedded data."
            )


def _check_fault(run: ProgramRun, place: _Place) -> None:
    if run.status == "fault":
        raise CannotCheck(
            f"{place.file}:{place.line}: the environment failed here ({run.fault}). "
            "Mend the cause and verify again."
        )
