"""On a program with one module, called once, our trainer is TRL's: same loss, same gradients."""

import inspect
from typing import Any

import numpy as np
import pytest

from progym.agents.grpo.batch import make_batch, make_rows
from progym.agents.grpo.forming import form_groups
from progym.agents.grpo.rules import GroupRules
from progym.envs.records import CallRecord, Episode

# transformers, peft and trl warn about each other's deprecated names.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

PROMPTS = {"a": (7, 8, 9, 10), "b": (11, 12, 13)}
REWARDS = {"a": (0.0, 1.0, 0.25, -1.0), "b": (0.5, 0.0, 0.5, 1.0)}
LEVEL = {"a": (0.0, 1.0, 0.25, -1.0), "b": (0.5, 0.5, 0.5, 0.5)}


def completions(*, alike=False):
    """Four completions of 1 to 6 tokens for each prompt; of 4 if they are to be alike."""
    rng = np.random.default_rng(0)
    least, end = (4, 5) if alike else (1, 7)
    return {
        name: [
            tuple(map(int, rng.integers(5, 60, int(rng.integers(least, end))))) for _ in range(4)
        ]
        for name in PROMPTS
    }


def episodes(rewards, *, alike=False):
    written = completions(alike=alike)
    return [
        Episode(
            env_id="test", env_kwargs={}, fingerprint="", split="train", example_id=name, seed=0,
            calls=(
                CallRecord("answer", 0, (), "", {}, prompt_ids=PROMPTS[name], token_ids=tokens),
            ),
            asks=(), status="ok", reward=reward, score=max(reward, 0.0),
        )
        for name in PROMPTS
        for tokens, reward in zip(written[name], rewards[name], strict=True)
    ]  # fmt: skip


def trl_config(folder, **settings):
    from trl.trainer.grpo_config import GRPOConfig

    values: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_steps": 1,
        "learning_rate": 1e-3,
        "max_completion_length": 6,
        "temperature": 0.7,
        "max_grad_norm": 0.0,
        "seed": 0,
        "shuffle_dataset": False,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        "report_to": [],
    }
    values |= settings
    return GRPOConfig(**values)


def lora():
    from peft import LoraConfig

    # Not the zero adapter that training starts from: there, half of all gradients are zero.
    return LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)


def load(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # In float64, so that rounding does not hide a difference (in float32 it is about 1e-6 itself).
    model = AutoModelForCausalLM.from_pretrained(folder).double()
    return model, AutoTokenizer.from_pretrained(folder)


def gradients(trainer):
    """Train one step and give the gradients that the last optimizer step saw."""
    from transformers import TrainerCallback

    found = {}

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model: Any = None, **_):
            found.update(
                {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
            )

    trainer.add_callback(Keep())
    trainer.train()
    return found


def plain(lm, folder, rewards, *, alike=False, **settings):
    """TRL's own trainer, made to "generate" the given completions."""
    import torch
    from datasets import Dataset
    from trl.trainer.grpo_trainer import GRPOTrainer

    written = completions(alike=alike)
    model, tokenizer = load(lm)
    torch.manual_seed(0)

    class Forced(GRPOTrainer):
        def _send_telemetry(self):
            pass

        def _generate_single_turn(self, prompt_ids, *_, **__):
            names = [name for name in PROMPTS for _ in range(4)]
            prompt_ids[:] = [list(PROMPTS[name]) for name in names]
            return [list(tokens) for name in PROMPTS for tokens in written[name]], None

    return Forced(
        model,
        lambda completions, **_: [reward for name in PROMPTS for reward in rewards[name]],
        trl_config(folder, **settings),
        Dataset.from_dict({"prompt": list(PROMPTS) * settings.get("max_steps", 1)}),
        processing_class=tokenizer,
        peft_config=lora(),
    )


def ours(lm, folder, rewards, *, alike=False, **settings):
    import torch

    from progym.agents.grpo.adapting import Adapting
    from progym.agents.grpo.trainer import GroupTrainer
    from progym.agents.models.adapters import add_adapter

    rules = GroupRules(scale_rewards=settings.get("scale_rewards", "group"))
    rng = np.random.default_rng(0)
    groups = form_groups(episodes(rewards, alike=alike), rng, size=4, rules=rules).groups
    rows = make_rows(groups, loss_type=settings.get("loss_type", "dapo"))
    batch = make_batch(rows, beta=settings.get("beta", 0.0))
    model, tokenizer = load(lm)
    torch.manual_seed(0)
    return GroupTrainer(
        add_adapter(model, lora()),
        trl_config(folder, **settings),
        make_batch=lambda step: batch,
        tokenizer=tokenizer,
        adapting=Adapting({"": "default"}, {"": None}),
    )


def largest_difference(one, other):
    """The largest difference between two sets of gradients, relative to the largest gradient."""
    assert one.keys() == other.keys()
    scale = max(float(g.abs().max()) for g in one.values())
    return max(float((one[n] - other[n]).abs().max()) for n in one) / scale


@pytest.mark.parametrize(
    ("loss_type", "beta", "rewards"),
    [
        ("grpo", 0.0, REWARDS),
        ("grpo", 0.0, LEVEL),
        ("grpo", 0.04, LEVEL),
        ("dapo", 0.0, LEVEL),
        ("dapo", 0.04, REWARDS),
        ("dr_grpo", 0.0, LEVEL),
        ("bnpo", 0.0, LEVEL),
        ("cispo", 0.04, LEVEL),
    ],
)
def test_gradients_equal_plain_grpo(random_lm, tmp_path, loss_type, beta, rewards):
    settings = {"loss_type": loss_type, "beta": beta}
    theirs = gradients(plain(random_lm, tmp_path, rewards, **settings))
    mine = gradients(ours(random_lm, tmp_path, rewards, **settings))
    assert largest_difference(theirs, mine) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("num_iterations", [1, 2])
@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "bnpo", "cispo"])
def test_every_loss_equals_plain_grpo(
    random_lm, tmp_path, loss_type, beta, num_iterations, accumulation
):
    """A step of ours is one micro-batch; TRL may need several for the same rows.

    Its bnpo divides each of them by its own tokens, so that the loss hangs on which rows fall
    together. Completions of one length take that away.
    """
    run = dict[str, Any](
        loss_type=loss_type,
        beta=beta,
        num_iterations=num_iterations,
        max_steps=num_iterations,
        optim="sgd",  # AdamW would magnify rounding in small gradients
        learning_rate=1e-4,  # and so would a long way to the second update
    )
    split = dict[str, Any](
        per_device_train_batch_size=8 // accumulation, gradient_accumulation_steps=accumulation
    )
    alike = loss_type == "bnpo" and accumulation > 1
    theirs = gradients(plain(random_lm, tmp_path, REWARDS, alike=alike, **run, **split))
    mine = gradients(ours(random_lm, tmp_path, REWARDS, alike=alike, **run))
    assert largest_difference(theirs, mine) < 1e-6


def test_the_second_iteration_on_a_batch_equals_plain_grpo(random_lm, tmp_path):
    settings = dict[str, Any](num_iterations=2, max_steps=2, loss_type="grpo", scale_rewards="none")
    theirs = gradients(plain(random_lm, tmp_path, REWARDS, **settings))
    mine = gradients(ours(random_lm, tmp_path, REWARDS, **settings))
    assert largest_difference(theirs, mine) < 1e-6


def test_padded_rows_give_the_gradients_of_packed_ones(random_lm, tmp_path):
    packed, padded = (ours(random_lm, tmp_path, REWARDS, beta=0.04) for _ in range(2))
    padded._packs = False
    assert largest_difference(gradients(packed), gradients(padded)) < 1e-6


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "bnpo", "cispo"])
def test_rows_computed_part_by_part_give_the_same_gradients(random_lm, tmp_path, loss_type, packs):
    whole, parts = (
        ours(random_lm, tmp_path, REWARDS, beta=0.04, loss_type=loss_type) for _ in range(2)
    )
    parts._packs = packs
    parts._tokens_at_once = 20
    assert largest_difference(gradients(whole), gradients(parts)) < 1e-6


def test_a_model_that_attends_in_windows_is_not_packed(random_lm):
    from progym.agents.grpo.scoring import can_pack

    model, _ = load(random_lm)
    assert can_pack(model, model.config)
    model.config.sliding_window = 8
    assert not can_pack(model, model.config)


def test_a_model_in_bfloat16_is_packed_all_the_same(random_lm):
    from progym.agents.grpo.scoring import can_pack

    def round_by_size(layer, given, logits):  # as kernels do on a GPU
        logits[..., 3] += 0.02 * logits.size(1)

    model, _ = load(random_lm)
    model.lm_head.register_forward_hook(round_by_size)
    assert not can_pack(model, model.config)
    assert can_pack(model.bfloat16(), model.config)


def test_a_model_in_bfloat16_that_looks_elsewhere_is_still_found_out(random_lm):
    import torch

    from progym.agents.grpo.scoring import can_pack

    model, _ = load(random_lm)
    model.bfloat16()
    rotary = model.model.rotary_emb
    forward = rotary.forward
    rotary.forward = lambda x, position_ids: forward(x, torch.arange(position_ids.size(1))[None])
    assert not can_pack(model, model.config)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("_generate_and_score_completions", ["self", "inputs"]),
        (
            "_get_per_token_logps_and_entropies",
            ["self", "model", "input_ids", "attention_mask", "logits_to_keep"],
        ),
        ("_compute_loss", ["self", "model", "inputs"]),
    ],
)
def test_trl_still_has_the_methods_that_are_overridden(method, parameters):
    from trl.trainer.grpo_trainer import GRPOTrainer

    found = list(inspect.signature(getattr(GRPOTrainer, method)).parameters)
    assert found[: len(parameters)] == parameters
