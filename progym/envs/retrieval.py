"""BM25 over a corpus as a service: queries in, titles out, best first.

The index is built once by bm25s, kept on disk under the corpus's fingerprint, and shared by all
environments of a process that search the same corpus. Nothing is built before the first query.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import zipfile
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from progym.envs.corpus import Corpus

logger = logging.getLogger(__name__)

K1, B = 0.9, 0.4
_MEMO = 20_000  # queries a retriever remembers: the rollouts of one example ask the same ones
_SHARED = 8  # corpora whose retrievers a process keeps
_shared: dict[str, Retriever] = {}
_sharing = Lock()


def retriever(corpus: Corpus) -> Retriever:
    """Get this process's retriever over a corpus; equal fingerprints share one."""
    with _sharing:
        found = _shared.pop(corpus.fingerprint, None) or Retriever(corpus)
        _shared[corpus.fingerprint] = found  # newest last
        while len(_shared) > _SHARED:
            del _shared[next(iter(_shared))]
        return found


class Retriever:
    """The service "retriever": BM25 (k1 0.9, b 0.4) over title and text, English stems.

    `answer` gives the titles of at most `k` passages that share a word with the query, best first,
    ties by position in the corpus. A query without a known word gets an empty list. One retriever
    may answer many threads.
    """

    deterministic = True

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self._memo = lru_cache(maxsize=_MEMO)(self._search)
        self._kept: Any = None
        self._building = Lock()

    def answer(self, query: str, k: int) -> list[str]:
        """Find the titles for a query."""
        return list(self._memo(query, k))

    def __reduce__(self) -> tuple[Any, ...]:
        return (retriever, (self.corpus,))

    def _search(self, query: str, k: int) -> tuple[str, ...]:
        words = _tokenize([query])[0]
        if not words or k < 1:
            return ()
        scores: np.ndarray = self._index.get_scores(words)
        least = np.partition(scores, -k)[-k] if k < len(scores) else 0.0
        near = np.flatnonzero((scores >= least) & (scores > 0.0))
        best: list[int] = near[np.argsort(-scores[near], kind="stable")][:k].tolist()
        return tuple(self.corpus.passages[position].title for position in best)

    @property
    def _index(self) -> Any:
        with self._building:
            if self._kept is None:
                path = cache_folder() / "bm25" / f"{_index_key(self.corpus)}.npz"
                found = _read_index(path, len(self.corpus.passages))
                self._kept = found or _build_index(self.corpus, path)
            return self._kept


def cache_folder() -> Path:
    """Name the folder for what can be made again: PROGYM_CACHE, else the user's cache."""
    given = os.environ.get("PROGYM_CACHE")
    if given:
        return Path(given).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "progym"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "progym"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "progym"


def _bm25s() -> Any:
    import bm25s  # late: it brings scipy along where that is installed

    # It sets its logger to DEBUG on import, which would show through an application's handlers.
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english")  # pyright: ignore[reportUnknownVariableType]


def _tokenize(texts: list[str], *, ids: bool = False) -> Any:
    return _bm25s().tokenize(
        texts, stopwords="en", stemmer=_stemmer(), return_ids=ids, show_progress=False
    )


def _index_key(corpus: Corpus) -> str:
    parts = (corpus.fingerprint, version("bm25s"), version("PyStemmer"), str(K1), str(B))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def _build_index(corpus: Corpus, path: Path) -> Any:
    texts = [f"{passage.title} {passage.text}" for passage in corpus.passages]
    index = _bm25s().BM25(k1=K1, b=B)
    index.index(_tokenize(texts, ids=True), show_progress=False)
    try:
        _write_index(index, path)
    except OSError as error:
        logger.warning("The search index could not be kept in %s: %s.", path.parent, error)
    return index


def _write_index(index: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    words = np.frombuffer(json.dumps(index.vocab_dict).encode(), dtype=np.uint8)
    arrays = {name: index.scores[name] for name in ("data", "indices", "indptr", "num_docs")}
    handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, words=words, **arrays)
        Path(draft).replace(path)  # whole or not at all, whoever else writes it
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _read_index(path: Path, passages: int) -> Any:
    """Read a kept index; None where there is none or it is broken (its checksums tell)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            scores = {name: kept[name] for name in ("data", "indices", "indptr")}
            words: dict[str, int] = json.loads(kept["words"].tobytes())
            if int(kept["num_docs"]) != passages:
                raise ValueError(f"{int(kept['num_docs'])} passages, not {passages}")
    except FileNotFoundError:
        return None
    except (OSError, EOFError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        logger.warning("The search index %s is broken (%s) and is built again.", path, error)
        return None
    index = _bm25s().BM25(k1=K1, b=B)
    index.scores = {**scores, "num_docs": passages}
    index.vocab_dict, index.nonoccurrence_array = words, None
    index.unique_token_ids_set = set(words.values())
    return index
