"""The page of a run: one file with its tables and pictures inside, for any browser, offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from progym.benchmarks.pages import templates_of
from progym.benchmarks.plots import Picture
from progym.benchmarks.results import Results
from progym.benchmarks.tables import grids, remarks


@dataclass(frozen=True)
class _Figure:
    title: str
    caption: str
    svg: Markup


_CAPTIONS = {
    "curves": (
        "What the stages report while they optimize, on their own train or val examples: thin "
        "lines are seeds, thick lines their mean, a line for each stage. The open marker is the "
        "test score at the end."
    ),
    "pareto": (
        "Test score with its 95 % interval against the rollouts spent on optimization; horizontal "
        "bars span the seeds. The dashed line joins the strategies that no other beats in both: as "
        "high a score for as few rollouts."
    ),
}


def render_report(results: Results, pictures: Sequence[Picture]) -> str:
    """Render a run's page; every text in it is escaped."""
    environment = templates_of("progym.benchmarks")
    info = results.run.info
    figures = [
        # The SVG is drawn by us, and matplotlib escapes the names in it.
        _Figure(picture.title, _CAPTIONS[picture.name], Markup(picture.inline))
        for picture in pictures
    ]
    return environment.get_template("report.html.j2").render(
        suite=info.suite,
        grids=grids(results, wide=True),
        figures=figures,
        remarks=remarks(results),
        facts=_facts(results),
        done=len(results.run.cells),
        cells=len(results.run.strategies) * len(results.run.seeds) * len(results.run.tasks),
    )


def _facts(results: Results) -> list[tuple[str, str]]:
    info = results.run.info
    facts = [
        ("suite", f"{info.suite['name']}, version {info.suite['version']}, {info.digest[:16]}"),
        ("model", str(info.suite["model"])),
        ("seeds", ", ".join(str(seed) for seed in results.run.seeds)),
        ("begun", info.started),
        ("commit", info.commit or "unknown"),
        ("hardware", ", ".join(f"{value}" for value in info.hardware.values())),
        ("versions", ", ".join(f"{name} {version}" for name, version in info.versions.items())),
    ]
    for task in results.tasks:
        facts.append((f"data of {task.task}", task.fingerprint))
    return facts
