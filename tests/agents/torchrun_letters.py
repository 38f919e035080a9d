"""Trains on letters in double precision, as one process or one of several: FOLDER LM."""

import atexit
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch.distributed
from letters import LETTERS, config, load_fluent

from progym.agents.grpo import packed_trainer
from progym.agents.grpo.stage import MmGrpo
from progym.agents.policy import Policy
from progym.envs.prompts import ModulePrompt, PromptSet, save_prompts

WATCH: dict[str, Any] = {
    "eval_every": 1,
    "eval_examples": 3,
    "save_every": 1,
    "record_every": 1,
    "keep_best": False,
}
RUN: dict[str, Any] = {
    "examples_per_step": 3,
    "beta": 0.1,
    "max_completion_length": 4,
    "watch": WATCH,
}
RUNS: dict[str, dict[str, Any]] = {
    "grpo": {"num_iterations": 2},
    "dapo": {"loss_type": "dapo"},
    "dr_grpo": {"loss_type": "dr_grpo", "beta": 0.0},
    "bnpo": {"loss_type": "bnpo"},
    "cispo": {"loss_type": "cispo"},
    "trajectory": {"groups": {"grouping": "trajectory"}},
    # One module's rows are so few that a process may have none of them.
    "adapters": {"examples_per_step": 1, "num_generations": 2, "lora": {"per_module": True}},
    "taught": {"num_iterations": 2},
}
"""Runs by name."""


FEW_TOKENS = 60
"""Of a tree: rows take several, and processes not equally many."""


def load_exact(policy):
    model = load_fluent(policy)
    model.model.double()
    return model


def tell_exit():
    """Say that no process group is left: its threads abort a process that ends beside them."""
    if not torch.distributed.is_initialized():
        sys.stdout.write("left nothing behind\n")


def main(folder: Path, lm: str) -> None:
    packed_trainer.tokens_at_once = lambda _: FEW_TOKENS
    prompts = folder / "loud.json"
    save_prompts(PromptSet({"ask": ModulePrompt("ASK.")}), prompts)
    for name, values in RUNS.items():
        teachers = [prompts] if name == "taught" else []
        stage = MmGrpo(
            config(**{**RUN, **values}, teaching={"teachers": teachers}), load=load_exact
        )
        place = folder / name
        stage.run(Policy(lm), LETTERS, seed=0, folder=place, report=lambda *_: None)


if __name__ == "__main__":
    atexit.register(tell_exit)
    main(Path(sys.argv[1]), sys.argv[2])
