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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from progym.agents.tiny.documents import LIFE, SCHOOL, Document, collect_turns, write_documents
from progym.agents.tiny.habits import CAREFUL, Turn
from progym.agents.tiny.tokenizer import build_tokenizer
from progym.envs.prompts import ModulePrompt
from progym.envs.rendering import Message, render_head, render_inputs, render_reply
from progym.envs.worlds.names import NAMES

WEIGHTS = Path(__file__).parent / "weights"
TASKS = {"HoVer4Hop-v0": 3000, "Banking77-v0": 20000, "PAPILLON-v0": 4000}
"""Pretrain examples by task; HoVer's are spread over several encyclopedias."""
_EXAM = 40
"""Turns of each module that are kept from training, to see how many replies it gets whole."""
PRETRAIN_SEED = 1_000
"""First world seed of the pretraining encyclopedias, so that facts are not learned by heart."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 0
    hidden_size: int = 160
    num_hidden_layers: int = 4
    num_attention_heads: int = 5
    intermediate_size: int = 448
    max_position_embeddings: int = 2048
    initializer_range: float = 0.04
    steps: int = 3000
    school: float = 0.7
    """The share of steps in which all authors are careful."""
    micro_batches: int = 2
    """Batches a step, each of rows of like length: together they mix the modules."""
    tokens_per_micro_batch: int = 3_000
    learning_rate: float = 1.5e-3
    warmup_steps: int = 50
    encyclopedias: int = 24
    """Pretraining worlds the HoVer turns come from."""


@dataclass(frozen=True)
class Row:
    """A tokenised document; `learn` marks the positions whose next token carries the loss."""

    module: str
    ids: np.ndarray
    learn: np.ndarray


def tokenize(
    tokenizer: PreTrainedTokenizerFast, document: Document, names: frozenset[int] = frozenset()
) -> Row:
    """Tokenise turn by turn, marking assistant turns up to and including their end.

    Tokens of `names` that stood in the document before are marked too: copying a name is what so
    small a model learns last, and prompts are full of chances to practise it.
    """
    ids: list[int] = []
    learn: list[bool] = []
    for message in document.messages:
        head = tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>")
        body = tokenizer(message["content"], add_special_tokens=False)["input_ids"]
        body = [*body, tokenizer.eos_token_id]
        ids += [head, *body]
        learn += [False, *[message["role"] == "assistant"] * len(body)]
    seen: set[int] = set()
    for place, token in enumerate(ids):
        if token in names:
            learn[place] = learn[place] or token in seen
            seen.add(token)
    return Row(document.module, np.array(ids), np.array(learn))


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
    return turns


def batches(rows: Iterator[Row], tokens: int) -> Iterator[list[Row]]:
    """Group rows of like length into batches of at most `tokens` padded tokens, for ever."""
    pending: list[list[Row]] = []
    rng = np.random.default_rng(0)
    while True:
        if not pending:
            pool = sorted(islice(rows, 1024), key=lambda row: len(row.ids))
            batch: list[Row] = []
            for row in pool:
                if batch and len(row.ids) * (len(batch) + 1) > tokens:
                    pending.append(batch)
                    batch = []
                batch.append(row)
            pending.append(batch)
            rng.shuffle(pending)  # pyright: ignore[reportArgumentType]
        yield pending.pop()


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
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def train(recipe: Recipe, out: Path, shares: Mapping[str, float], console: Console) -> None:
    """Train and save; prints the loss and the exact accuracy per module as it goes."""
    started = time.perf_counter()
    turns = collect_worlds(recipe, console)
    exam = {name: some[-_EXAM:] for name, some in turns.items()}
    turns = {name: some[:-_EXAM] for name, some in turns.items()}
    rng = np.random.default_rng(recipe.seed)
    vocabulary = islice(write_documents(turns, dict.fromkeys(turns, 1.0), LIFE, rng), 20_000)
    texts = (m["content"] for document in vocabulary for m in document.messages)
    tokenizer = build_tokenizer(texts, recipe.max_position_embeddings)
    model = build_model(recipe, tokenizer)
    console.print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens")
    names = frozenset(tokenizer.convert_tokens_to_ids([f" {name}" for name in NAMES]))
    school, life = (
        batches(
            (tokenize(tokenizer, d, names) for d in write_documents(turns, shares, careful, rng)),
            recipe.tokens_per_micro_batch,
        )
        for careful in (SCHOOL, LIFE)
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    model.train()
    for step in range(1, recipe.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
        supply = school if step <= recipe.school * recipe.steps else life
        loss = take_step(model, optimizer, list(islice(supply, recipe.micro_batches)))
        if step % 100 == 0:
            scores = exact_accuracy(model, tokenizer, exam)
            shown = "  ".join(f"{name} {value:.2f}" for name, value in scores.items())
            seconds = time.perf_counter() - started
            console.print(f"{step:5d} {seconds:6.0f} s  loss {loss:.3f}  {shown}", soft_wrap=True)
            if step % 500 == 0:
                save(model, tokenizer, recipe, out, scores)
    save(model, tokenizer, recipe, out, exact_accuracy(model, tokenizer, exam))


def take_step(
    model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, micro_batches: Sequence[list[Row]]
) -> float:
    """Update on the mean loss over all marked tokens; gives that mean."""
    tokens = sum(int(row.learn[1:].sum()) for rows in micro_batches for row in rows)
    total = 0.0
    for rows in micro_batches:
        loss = loss_of(model, rows)[0] / tokens
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return total


def _schedule(step: int, recipe: Recipe) -> float:
    if step < recipe.warmup_steps:
        return step / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))


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
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    given = parser.parse_args()
    recipe = replace(Recipe(), steps=given.steps, seed=given.seed)
    torch.set_num_threads(2)
    train(recipe, given.out, SHARES, Console())


SHARES = {
    "generate_query": 1.0,
    "append_notes": 3.0,
    "classify": 1.0,
    "craft_request": 1.0,
    "respond": 0.8,
}
"""How often each module's documents are drawn; finding the right fact is the hardest to learn."""


if __name__ == "__main__":
    main()
