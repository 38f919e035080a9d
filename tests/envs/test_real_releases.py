"""The releases themselves, where they are on this machine: imported, and played to the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import progym
from progym.envs import sources
from progym.envs.env import ProgramEnv
from progym.envs.rendering import render_reply
from progym.envs.replay import replay
from progym.envs.sources.importing import import_release, read_uids
from progym.envs.sources.splitting import PAPER_SIZES

DATA = Path(os.environ.get("PROGYM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))

real = pytest.mark.real
here = pytest.mark.skipif(not DATA.is_dir(), reason=f"PROGYM_TEST_DATA: no releases in {DATA}")


def play_gold(env_id: str, folder: Path, episodes: int = 5, **kwargs: Any) -> list[Any]:
    env = progym.make(env_id, data=str(folder), split="test", **kwargs).unwrapped
    assert isinstance(env, ProgramEnv)
    records = []
    for example_id in env.examples.ids[:episodes]:
        _, info = env.reset(options={"example_id": example_id})
        while "record" not in info:
            info = env.step(render_reply(env.pending_call.module, env.gold_fields()))[-1]
        records.append(info["record"])
    return records


@real
@here
def test_the_release_of_banking77_is_played_to_the_end(tmp_path):
    report = import_release("banking77", DATA / "banking77", tmp_path / "out")
    everything = import_release("banking77", DATA / "banking77", tmp_path / "all", sizes="all")

    episodes = play_gold("Banking77-v0", tmp_path / "out", 50)

    assert dict(report.sizes) == {"train": 250, "val": 250, "test": 500}
    # 10,003 and 3,080 rows less 4 and 1 repeats, and 7 texts of train that stand in test.
    assert dict(everything.sizes) == {"train": 9742, "val": 250, "test": 3079}
    assert {episode.reward for episode in episodes} == {1.0}


@real
@here
def test_the_release_of_hover_is_played_over_real_passages(tmp_path, monkeypatch):
    monkeypatch.setenv("PROGYM_CACHE", str(tmp_path / "cache"))
    report = import_release(
        "hover",
        DATA / "hover",
        tmp_path / "out",
        corpus=DATA / "passages" / "passages.jsonl.gz",
        only_uids=read_uids(DATA / "hover" / "uids_covered_by_passages.json"),
        hops={2, 3, 4},
    )

    episodes = play_gold("HoVer4Hop-v0", tmp_path / "out")

    assert (sum(report.sizes.values()), report.passages) == (72, 13033)
    assert len(report.notes) == 1
    assert {(episode.status, len(episode.calls)) for episode in episodes} == {("ok", 6)}
    assert min(episode.reward for episode in episodes) >= 0.99
    assert all(replay(episode).matches for episode in episodes)


@real
@here
def test_the_release_of_pupa_is_imported_whole(tmp_path):
    report = import_release("papillon", DATA / "pupa", tmp_path / "out")

    example = sources.load("papillon", tmp_path / "out", "train").examples[0]

    assert dict(report.sizes) == PAPER_SIZES["papillon"]
    assert report.notes == ()
    assert all(example.gold["pii_units"])
