"""Tokenised documents, with the tokens that carry the loss marked, in batches of like length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from transformers import PreTrainedTokenizerFast

from progym.agents.tiny.documents import Document
from progym.agents.tiny.tokenizer import END


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
        head = token_id(tokenizer, f"<|{message['role']}|>")
        body: list[int] = tokenizer.encode(message["content"], add_special_tokens=False)
        body = [*body, token_id(tokenizer, END)]
        ids += [head, *body]
        learn += [False, *[message["role"] == "assistant"] * len(body)]
    seen: set[int] = set()
    for place, token in enumerate(ids):
        if token in names:
            learn[place] = learn[place] or token in seen
            seen.add(token)
    return Row(document.module, np.array(ids), np.array(learn))


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Look up a token that the vocabulary is known to hold."""
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int)
    return found


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
