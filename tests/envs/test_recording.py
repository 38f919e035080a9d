"""Episodes go to disk and back unchanged, and a file that is damaged is named by its line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progym.envs.errors import BadData, BadValue, DataUnavailable, RecordingFailed
from progym.envs.recording import EpisodeWriter, read_episode, read_episodes
from progym.envs.records import AskRecord, CallRecord, Episode
from progym.envs.strict_json import dump_line

# Two surrogates that make a pair are one character in JSON, whoever wrote them.
texts = st.text().filter(
    lambda text: text == text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
messages = st.fixed_dictionaries({"role": texts, "content": texts})
calls = st.builds(
    CallRecord,
    texts,
    st.integers(0, 9),
    st.lists(messages, max_size=2).map(tuple),
    texts,
    st.dictionaries(texts, texts, max_size=2),
    st.none() | texts,
    token_ids=st.lists(st.integers(0, 9), max_size=2).map(tuple),
    logprobs=st.lists(numbers, max_size=2).map(tuple),
    inputs=st.dictionaries(texts, texts | st.lists(texts, max_size=2).map(tuple), max_size=2),
)
asks = st.builds(AskRecord, texts, st.dictionaries(texts, json_values, max_size=2), json_values)
episodes = st.builds(
    Episode,
    *(texts, st.dictionaries(texts, json_values, max_size=2), texts, texts, texts),
    st.none() | st.integers(),
    st.lists(calls, max_size=2).map(tuple),
    st.lists(asks, max_size=2).map(tuple),
    st.sampled_from(["ok", "fault"]),
    numbers,
    st.none() | numbers,
)


@given(episodes)
def test_an_episode_reads_back_from_its_line(episode):
    line = dump_line(episode.to_json())

    again = read_episode(line, "a line")

    assert line.count(b"\n") == 1
    assert again == episode
    assert again.digest == episode.digest


def test_episodes_read_back_in_order_whoever_wrote_them(toy, tmp_path):
    path = tmp_path / "runs" / "episodes.jsonl"
    played = [toy.play(toy.make(), seed=seed) for seed in range(4)]

    for half in (played[:2], played[2:]):
        with EpisodeWriter(path) as writer:
            for episode in half:
                writer.write(episode)

    assert list(read_episodes(path)) == played
    assert writer.count == 4


def test_a_lone_surrogate_is_kept_and_the_file_is_utf_8(toy, tmp_path):
    episode = toy.play(toy.make(), lambda env: "\ud800 漢")

    with EpisodeWriter(tmp_path / "e.jsonl") as writer:
        writer.write(episode)

    assert (tmp_path / "e.jsonl").read_text("utf-8")
    assert next(read_episodes(tmp_path / "e.jsonl")) == episode


def test_each_episode_is_on_disk_before_the_next(toy, tmp_path):
    with EpisodeWriter(tmp_path / "e.jsonl") as writer:
        writer.write(toy.play(toy.make()))

        assert len(list(read_episodes(tmp_path / "e.jsonl"))) == 1


def test_a_line_that_a_kill_cut_is_named_when_read_and_removed_when_written_on(toy, tmp_path):
    path = tmp_path / "e.jsonl"
    episode = toy.play(toy.make())
    path.write_bytes(dump_line(episode.to_json()) + dump_line(episode.to_json())[:50])

    with pytest.raises(BadData, match=r"e\.jsonl:2: .*cut short"):
        list(read_episodes(path))
    with EpisodeWriter(path) as writer:
        assert writer.count == 1
        writer.write(episode)
    assert list(read_episodes(path)) == [episode, episode]


def test_a_full_disk_says_how_many_episodes_are_safe_and_leaves_them_readable(toy, tmp_path):
    line = dump_line(toy.play(toy.make()).to_json())
    (tmp_path / "line").write_bytes(line)
    script = """
import os, resource, sys
from pathlib import Path
from progym.envs.errors import RecordingFailed
from progym.envs.recording import EpisodeWriter, read_episode
folder = Path(sys.argv[1])
line = (folder / "line").read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(len(line) * 2.5),) * 2)
episode = read_episode(line, "line")
os.chdir(folder)
try:
    with EpisodeWriter(Path("e.jsonl")) as writer:
        os.chdir("/")  # the file is the one that was opened, wherever the process goes
        for _ in range(5):
            writer.write(episode)
except RecordingFailed as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "2 episodes are safe in it" in done.stdout
    assert len(list(read_episodes(tmp_path / "e.jsonl"))) == 2


def test_a_place_that_can_not_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RecordingFailed, match=r"file/e\.jsonl can.t be written"):
        EpisodeWriter(tmp_path / "file" / "e.jsonl")
    with pytest.raises(RecordingFailed, match="can't be written"):
        EpisodeWriter(tmp_path)


def test_a_value_that_json_can_not_hold_is_refused_and_nothing_is_written(toy, tmp_path):
    episode = replace(toy.play(toy.make()), reward=float("nan"))

    writer = EpisodeWriter(tmp_path / "e.jsonl")
    with writer, pytest.raises(BadValue, match="holds a value that JSON can't"):
        writer.write(episode)

    assert (tmp_path / "e.jsonl").read_bytes() == b""


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataUnavailable, match=r"none\.jsonl can't be read"):
        list(read_episodes(tmp_path / "none.jsonl"))


def change(values, path, value):
    *parents, last = path
    for key in parents:
        values = values[key]
    values[last] = value


WRONG = {
    "a number as text": (["reward"], "1.0"),
    "a truth value as a number": (["score"], True),
    "another schema": (["schema"], 2),
    "an unknown key": (["surprise"], 1),
    "an unknown status": (["status"], "won"),
    "calls that are no array": (["calls"], {}),
    "a call that is no object": (["calls", 0], 3),
    "an unknown key in a call": (["calls", 0, "surprise"], 1),
    "a prompt of texts": (["calls", 0, "prompt", 0], "a text"),
    "a message without content": (["calls", 0, "prompt", 0], {"role": "user"}),
    "token ids as texts": (["calls", 0, "token_ids"], ["1"]),
    "fields that are numbers": (["calls", 0, "fields", "query"], 1),
    "inputs that are numbers": (["calls", 0, "inputs", "notes"], [1]),
    "an input that is an object": (["calls", 0, "inputs", "notes"], {"a": 1}),
    "an unknown finish": (["calls", 0, "finish"], "tired"),
    "a request that is no object": (["asks", 0, "request"], []),
    "a metric as text": (["metrics", "accuracy"], "1"),
}


@pytest.mark.parametrize(("path", "value"), WRONG.values(), ids=WRONG.keys())
def test_a_line_of_another_form_is_named(toy, tmp_path, path, value):
    good = dump_line(toy.play(toy.make()).to_json())
    values = json.loads(good)
    change(values, path, value)
    (tmp_path / "e.jsonl").write_bytes(good + dump_line(values))

    with pytest.raises(BadData, match=r"e\.jsonl:2: "):
        list(read_episodes(tmp_path / "e.jsonl"))


@pytest.mark.parametrize("missing", ["calls", "reward", "fingerprint"])
def test_a_line_without_a_key_is_named(toy, missing):
    values = toy.play(toy.make()).to_json()
    del values[missing]

    with pytest.raises(BadData, match=f"the line: .*{missing}"):
        read_episode(dump_line(values), "the line")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"reward": NaN}', "NaN is not a JSON number"),
        (b'{"reward": 1e999}', "1e999 is too large a number"),
        (b'{"reward": 1, "reward": 2}', "'reward' stands twice"),
        (b"\xff", "not UTF-8"),
        (b"[1]", "expected a JSON object"),
        (b'{"a": ', "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_strict_json_is_named(line, reason):
    with pytest.raises(BadData, match=f"the line: .*{reason}"):
        read_episode(line, "the line")
