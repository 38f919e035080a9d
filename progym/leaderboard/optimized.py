"""Is the policy one that its strategy can make, on the budget that the suite grants?"""

from __future__ import annotations

from collections.abc import Sequence

from progym.benchmarks.suite import Suite, SuiteTask
from progym.envs.module import Module
from progym.leaderboard.bundle import BundledRun
from progym.leaderboard.findings import Finding, found


def stages_of(run: BundledRun, suite: Suite) -> list[str]:
    """Name the stages that a run's strategy stands for, without their variants."""
    planned = suite.plan(suite.task(run.run.task), run.run.strategy)
    return [stage.name for stage in planned.stages]


def check_policy(run: BundledRun, suite: Suite, modules: Sequence[Module]) -> list[Finding]:
    """See that the policy is the suite's model, changed by the strategy's stages only."""
    return _check_parts(run, suite) + _check_prompts(run, modules)


def _check_parts(run: BundledRun, suite: Suite) -> list[Finding]:
    program, stages = run.program, stages_of(run, suite)
    adapter, tuned = program.adapter_sha256, sorted(program.prompts)
    pairs: tuple[tuple[str, str, bool, object, object], ...] = (
        ("M16", "model", program.model == suite.model, suite.model, program.model),
        ("B05", "prompts", "po" in stages or not tuned, "none without po", tuned),
        (
            "B05",
            "adapter_sha256",
            "mmgrpo" in stages or not adapter,
            "none without mmgrpo",
            adapter,
        ),
    )
    return [
        found(code, f"{run.folder}/program.json", field=field, expected=expected, given=given)
        for code, field, holds, expected, given in pairs
        if not holds
    ]


def _check_prompts(run: BundledRun, modules: Sequence[Module]) -> list[Finding]:
    """See that prompts are of the program's modules, and demos of their fields."""
    file = f"{run.folder}/program.json"
    inputs = {module.name: module.input_names for module in modules}
    outputs = {module.name: {field.name for field in module.outputs} for module in modules}
    findings: list[Finding] = []
    for name, prompt in run.program.prompts.items():
        if name not in inputs:
            expected = f"one of {', '.join(inputs)}"
            findings.append(
                found("J11", file, field=f"prompts.{name}", expected=expected, given=name)
            )
            continue
        for number, demo in enumerate(prompt.demos):
            at, given = f"prompts.{name}.demos.{number}", demo.inputs.keys()
            unknown = (given - inputs[name]) | (demo.outputs.keys() - outputs[name])
            for code, fields in (("J12", inputs[name] - given), ("J11", unknown)):
                if fields:
                    wanted = f"inputs {sorted(inputs[name])}, outputs of {sorted(outputs[name])}"
                    findings.append(
                        found(code, file, field=at, expected=wanted, given=sorted(fields))
                    )
    return findings


def check_budget(run: BundledRun, suite: Suite, setup: SuiteTask) -> list[Finding]:
    """See that no stage says it spent more rollouts than the suite grants."""
    planned = suite.plan(setup, run.run.strategy).stages
    return [
        found(
            "B01",
            f"{run.folder}/run.json",
            field=f"stages.{number}.cost.rollouts",
            expected=f"at most {stage.rollouts}",
            given=f"{spent.cost.rollouts}",
        )
        for number, (stage, spent) in enumerate(zip(planned, run.run.stages, strict=True))
        if spent.cost.rollouts > stage.rollouts
    ]
