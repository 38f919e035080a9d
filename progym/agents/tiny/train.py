"""Train the tiny LM from nothing: `python -m progym.agents.tiny.train` (or `make tiny`).

Supervised training on the documents of `documents.py`; the loss falls on assistant turns only.
What decides success is exact accuracy per module, not the loss: a model this small first learns the
form, and much later to copy names. Writes the weights, the tokenizer and `recipe.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from progym.agents.tiny.documents import (
    MIXED,
    Document,
    collect_turns,
    write_documents,
)
from progym.agents.tiny.habits import CAREFUL, Turn
from progym.agents.tiny.lessons import ALL, PRETRAIN_SEED, TASKS, Lesson, Recipe
from progym.agents.tiny.rows import Row, batches, token_id, tokenize
from progym.agents.tiny.tokenizer import END, PAD, build_tokenizer
from progym.agents.tiny.variants import add_variants
from progym.envs.errors import BadData
from progym.envs.prompts import ModulePrompt
from progym.envs.rendering import Message, render_head, render_inputs, render_reply
from progym.envs.worlds.names import NAMES

WEIGHTS = Path(__file__).parent / "weights"
WARMUP_STEPS = 30
"""Of each lesson."""


def collect_worlds(recipe: Recipe, console: Console) -> dict[str, list[Turn]]:
    """Collect the turns of all tasks, by module."""
    turns: dict[str, list[Turn]] = {}
    for env_id, count in TASKS.items():
        worlds = recipe.encyclopedias if env_id.startswith("HoVer") else 1
        started = time.perf_counter()
        for world in range(worlds):
            for turn in collect_turns(env_id, PRETRAIN_SEED + world, count // worlds):
                turns.setdefault(turn.module.name, []).append(turn)
        console.print(f"{env_id}: {count} examples, {time.perf_counter() - started:.1f} s")
    return add_variants(turns, np.random.default_rng(recipe.seed))


def collect_exam() -> dict[str, list[Turn]]:
    """Collect some turns of the val splits, whose facts and phrasings the training never shows."""
    exam: dict[str, list[Turn]] = {}
    for env_id, count in (("HoVer4Hop-v0", 10), ("Banking77-v0", 40), ("PAPILLON-v0", 30)):
        for turn in collect_turns(env_id, 0, count, split="val"):
            exam.setdefault(turn.module.name, []).append(turn)
    return exam


def loss_of(model: LlamaForCausalLM, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the summed loss over the marked tokens, and which of them greedy decoding would get."""
    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    learn = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):  # right padding: causal attention never looks at it
        ids[i, : len(row.ids)] = torch.from_numpy(row.ids)
        learn[i, : len(row.ids)] = torch.from_numpy(row.learn)
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    target = learn[:, 1:]
    logits = model.lm_head(hidden[target])
    wanted = ids[:, 1:][target]
    loss = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
    return loss, logits.argmax(-1) == wanted


def exact_accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, turns: Mapping[str, list[Turn]]
) -> dict[str, float]:
    """Share of careful replies the model gets whole by greedy decoding, under a careful tip."""
    found: dict[str, float] = {}
    with torch.no_grad():
        for name, some in turns.items():
            hits = 0
            for turn in some:
                row = tokenize(tokenizer, Document(name, _exam(turn)))
                hits += bool(loss_of(model, [row])[1].all())
            found[name] = hits / len(some)
    return found


def _exam(turn: Turn) -> tuple[Message, ...]:
    tip = ModulePrompt(f"{turn.module.instruction} Be careful and exact.")
    user = Message(role="user", content=render_inputs(turn.module, turn.inputs))
    reply = Message(role="assistant", content=render_reply(turn.module, turn.replies[CAREFUL]))
    return (*render_head(turn.module, tip), user, reply)


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Make the untrained model."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.num_hidden_layers,
        num_attention_heads=recipe.num_attention_heads,
        num_key_value_heads=recipe.num_attention_heads,
        intermediate_size=recipe.intermediate_size,
        max_position_embeddings=recipe.max_position_embeddings,
        initializer_range=recipe.initializer_range,
        tie_word_embeddings=True,
        pad_token_id=token_id(tokenizer, PAD),
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, END),
    )
    return LlamaForCausalLM(config)


def train(recipe: Recipe, out: Path, console: Console, first_lesson: int = 1) -> None:
    """Train and save after each lesson; prints the loss and the exact accuracy per module.

    A lesson starts with draws and an optimizer of its own, so that going on at `first_lesson`, with
    the weights in `out` that the lesson before it left, gives what training in one go gives.
    """
    turns = collect_worlds(recipe, console)
    exam = collect_exam()
    rng = np.random.default_rng(recipe.seed)
    vocabulary = islice(write_documents(turns, ALL, MIXED, rng), 20_000)
    texts = (m["content"] for document in vocabulary for m in document.messages)
    tokenizer = build_tokenizer(texts, recipe.max_position_embeddings)
    model = build_model(recipe, tokenizer)
    if first_lesson > 1:
        model = LlamaForCausalLM.from_pretrained(out)
        if model.config.vocab_size != len(tokenizer):
            raise BadData(f"{out} holds weights of another recipe: start with the first lesson.")
    console.print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens")
    model.train()
    for number, lesson in enumerate(recipe.lessons, 1):
        if number >= first_lesson:
            console.print(f"lesson {number}: {lesson.name}")
            rng = np.random.default_rng([recipe.seed, number])
            supply = _supply(lesson, turns, tokenizer, recipe.tokens_per_micro_batch, rng)
            teach(model, lesson, supply, partial(_report, model, tokenizer, exam, console))
            save(model, tokenizer, recipe, out, exact_accuracy(model, tokenizer, exam))


def _supply(
    lesson: Lesson,
    turns: Mapping[str, list[Turn]],
    tokenizer: PreTrainedTokenizerFast,
    tokens: int,
    rng: np.random.Generator,
) -> Iterator[list[Row]]:
    names = frozenset(token_id(tokenizer, f" {name}") for name in NAMES)
    documents = write_documents(turns, lesson.shares, lesson.careful, rng)
    return batches((tokenize(tokenizer, document, names) for document in documents), tokens)


def _report(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    exam: Mapping[str, list[Turn]],
    console: Console,
    step: int,
    loss: float,
    seconds: float,
) -> None:
    if step % 100 == 0:
        scores = exact_accuracy(model, tokenizer, exam)
        shown = "  ".join(f"{name} {value:.2f}" for name, value in scores.items())
        console.print(f"{step:5d} {seconds:6.0f} s  loss {loss:.3f}  {shown}", soft_wrap=True)


def teach(
    model: LlamaForCausalLM,
    lesson: Lesson,
    supply: Iterator[list[Row]],
    report: Callable[[int, float, float], None],
) -> None:
    """Train through a lesson; `report` gets the step, its loss, and the seconds since the start."""
    started = time.perf_counter()
    optimizers = build_optimizers(model, lesson)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_schedule, lesson))
        for optimizer in optimizers
    ]
    for step in range(1, lesson.steps + 1):
        loss = take_step(model, optimizers, list(islice(supply, lesson.micro_batches)))
        for schedule in schedules:
            schedule.step()
        report(step, loss, time.perf_counter() - started)


def build_optimizers(model: LlamaForCausalLM, lesson: Lesson) -> list[torch.optim.Optimizer]:
    """Make Muon for the weight matrices, which learns to copy in half of AdamW's steps, and AdamW.

    Embeddings and gains are AdamW's, as Muon's authors advise.
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim < 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=lesson.muon_lr, weight_decay=0.01, adjust_lr_fn="original"),
        torch.optim.AdamW(rest, lr=lesson.adamw_lr, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def _schedule(lesson: Lesson, step: int) -> float:
    """Give the share of the learning rate at an update; they count from 0."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / lesson.steps)))
    return warm * (lesson.final_lr + (1 - lesson.final_lr) * fall)


def take_step(
    model: LlamaForCausalLM,
    optimizers: Sequence[torch.optim.Optimizer],
    micro_batches: Sequence[list[Row]],
) -> float:
    """Update on the mean loss over all marked tokens; gives that mean."""
    tokens = sum(int(row.learn[1:].sum()) for rows in micro_batches for row in rows)
    total = 0.0
    for rows in micro_batches:
        loss = loss_of(model, rows)[0] / tokens
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return total


def save(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    out: Path,
    scores: Mapping[str, float],
) -> None:
    """Write weights (float32 safetensors), tokenizer and the recipe with the weights' hash."""
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    record = {
        "command": "python -m progym.agents.tiny.train",
        "recipe": asdict(recipe),
        "parameters": model.num_parameters(),
        "weights_sha256": digest,
        "exact_accuracy_of_careful_replies": dict(scores),
        "torch": torch.__version__,
    }
    (out / "recipe.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--first-lesson", type=int, default=1, metavar="NUMBER")
    given = parser.parse_args()
    torch.set_num_threads(2)
    train(Recipe(seed=given.seed), given.out, Console(), given.first_lesson)


if __name__ == "__main__":
    main()
