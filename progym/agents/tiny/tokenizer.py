"""The tiny LM's tokenizer: every word of the worlds is one token, all else falls back to bytes.

How names are tokenised decides whether so small a model learns to copy them: whole words it does,
syllables it does not. The vocabulary is listed, not learned, so the tokenizer needs no training.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_PIECE = r"\n| ?[A-Za-z_]+| ?[0-9]| ?[^\sA-Za-z0-9_]|\s"
PAD, END = "<|pad|>", "<|end|>"
SPECIALS = (PAD, END, "<|system|>", "<|user|>", "<|assistant|>", "<|unk|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def split_pieces(text: str) -> list[str]:
    """Split text as the tokenizer does: words with the space before them, digits, marks."""
    return re.findall(_PIECE, text)


def build_tokenizer(texts: Iterable[str], context: int) -> PreTrainedTokenizerFast:
    """Make a tokenizer whose vocabulary holds every piece that stands in `texts`."""
    pieces = Counter(piece for text in texts for piece in split_pieces(text))
    letters = [space + chr(code) for space in ("", " ") for code in range(33, 127)]
    words = sorted(pieces, key=lambda piece: (-pieces[piece], piece))
    vocabulary: dict[str, float] = dict.fromkeys(SPECIALS, 0.0)
    vocabulary |= {f"<0x{byte:02X}>": -30.0 for byte in range(256)}
    vocabulary |= dict.fromkeys(["\n", " ", *letters], -10.0)
    vocabulary |= dict.fromkeys(words, -1.0)  # one whole word always beats its letters
    tokenizer = Tokenizer(
        models.Unigram(
            list(vocabulary.items()), unk_id=SPECIALS.index("<|unk|>"), byte_fallback=True
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECE), behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token="<|unk|>",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    fast.chat_template = _CHAT_TEMPLATE
    return fast
