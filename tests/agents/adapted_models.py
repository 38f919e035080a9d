"""Small models of other families, with an adapter that is not zero."""

import torch
import transformers
from peft import LoraConfig, get_peft_model

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}
LARGE = {"vocab_size": 600, "hidden_size": 512, "intermediate_size": 512, "initializer_range": 0.05}
"""Half of the layers are so large that oneDNN computes them."""


def adapted(family="Llama", *, sizes=(), **lora):
    """Build a model of transformers by the name that its classes begin with."""
    config = getattr(transformers, f"{family}Config")(**{**SIZES, **dict(sizes)})
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, **lora)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{family}ForCausalLM")(config)
        return get_peft_model(model, lora).eval()
