"""A program of two modules on which a random model, made fluent, learns to write letters."""

import json
from typing import Any

import gymnasium

from progym.agents.grpo.config import GrpoConfig
from progym.agents.grpo.stage import MmGrpo
from progym.agents.policy import Policy
from progym.agents.stage import Task
from progym.envs.env import ProgramEnv
from progym.envs.examples import Examples
from progym.envs.module import Field, Module
from progym.envs.program import Example, Program, Score
from progym.envs.records import Completion

ask = Module("ask", "Ask.", (Field("word"),), (Field("query"),))
tell = Module("tell", "Tell.", (Field("query"),), (Field("answer"),))


def converse(word):
    """One call of `ask`, then one or two of `tell`."""
    query = (yield ask(word=word))["query"]
    texts = [query]
    for _ in range(1 + len(query) % 2):
        texts.append((yield tell(query=query[:4]))["answer"])
    return {"text": "".join(texts)}


def letters(example, outcome):
    """The share of letters."""
    if example.gold.get("broken"):
        raise RuntimeError("the scorer is down")
    text = "a" if example.gold.get("level") else outcome["text"]
    return Score(sum(c.isalpha() for c in text) / len(text))


def make_letters(**kwargs: Any) -> ProgramEnv:
    split, broken = kwargs.get("split", "train"), kwargs.get("broken", ())
    level = kwargs.get("level", False)
    examples = [
        Example(f"{split}-{i}", {"word": f"w{i}"}, {"broken": i in broken, "level": level})
        for i in range(6)
    ]
    return ProgramEnv(Program((ask, tell), converse), Examples.of(examples), letters, split=split)


LETTERS = Task("Letters-v0")
if LETTERS.env_id not in gymnasium.registry:
    gymnasium.register(LETTERS.env_id, entry_point=make_letters, disable_env_checker=True)


def load_fluent(policy):
    """A trainable model whose every completion counts as its module's output."""
    from progym.agents.models import load_trainable

    model = load_trainable(policy)
    generate = model.generate

    def read(request, completion):
        text = str(completion) or "-"
        values: dict[str, Any] = {**vars(completion), "fields": {}}
        values["fields"][request.call.module.outputs[0].name] = text
        return Completion(text, **values)

    def fluent(requests, sampling):
        return list(map(read, requests, generate(requests, sampling)))

    model.generate = fluent
    return model


def config(**values):
    defaults: dict[str, Any] = {
        "max_steps": 2,
        "examples_per_step": 2,
        "num_generations": 4,
        "learning_rate": 1e-2,
        "beta": 0.0,
        "max_grad_norm": 1.0,
        "temperature": 1.0,
        "max_completion_length": 6,
    }
    return GrpoConfig(**{**defaults, **values})


def train(random_lm, folder, *, seed=0, task=LETTERS, policy=None, **values):
    policy = policy or Policy(str(random_lm))
    stage = MmGrpo(config(**values), load=load_fluent)
    return stage.run(policy, task, seed=seed, folder=folder, report=lambda *_: None)


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()
