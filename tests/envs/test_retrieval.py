import logging
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import bm25s
import numpy as np
import pytest
import Stemmer

from progym.envs import retrieval
from progym.envs.corpus import Corpus, Passage
from progym.envs.retrieval import Retriever, cache_folder, retriever
from progym.envs.worlds.encyclopedia import encyclopedia

ROWS = (
    ("Mora River", "Mora River runs to the sea."),
    ("Arvo Guild", "Arvo Guild was founded by Belen Tordal."),
    ("Belen Tordal", "Belen Tordal was born in Mora Town."),
    ("Mora Town", "Mora Town lies by a quiet sea."),
)


def make_corpus(rows=ROWS):
    return Corpus(tuple(Passage(*row) for row in rows), f"corpus {hash(rows)}")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROGYM_CACHE", str(tmp_path))
    return tmp_path


def index_file(cache):
    (path,) = (cache / "bm25").iterdir()
    return path


@pytest.fixture(scope="module")
def world():
    return encyclopedia("val", 7)


def peer_of(corpus):
    """Index a corpus by bm25s alone; gives the index and how it reads a text."""
    options: dict[str, Any] = {"stopwords": "en", "stemmer": Stemmer.Stemmer("english")}
    read: Any = partial(bm25s.tokenize, return_ids=False, show_progress=False, **options)
    index: Any = bm25s.BM25(k1=0.9, b=0.4)
    index.index(read([f"{p.title} {p.text}" for p in corpus.passages]), show_progress=False)
    return index, read


def test_ranking_is_that_of_bm25s(world):
    index, read = peer_of(world.corpus)
    position = {passage.title: i for i, passage in enumerate(world.corpus.passages)}
    ours = Retriever(world.corpus)
    for claim in [example.inputs["claim"] for example in world.examples(40)]:
        words = read([claim])
        best = index.retrieve(words, k=10, show_progress=False).scores[0]
        scores = index.get_scores(words[0])
        answer = ours.answer(claim, 10)
        np.testing.assert_array_equal([scores[position[title]] for title in answer], best)


def test_the_index_on_disk_answers_like_the_one_just_built(world, cache, monkeypatch):
    claims = [example.inputs["claim"] for example in world.examples(20)]
    built = [Retriever(world.corpus).answer(claim, 12) for claim in claims]
    assert index_file(cache).stat().st_size > 10_000
    monkeypatch.setattr(retrieval, "_build_index", None)
    read = Retriever(world.corpus)
    assert [read.answer(claim, 12) for claim in claims] == built


def test_many_threads_that_ask_at_once_build_one_index(monkeypatch):
    built, build = [], retrieval._build_index
    together = threading.Barrier(8, timeout=60)

    def count(corpus, path):
        built.append(path)
        time.sleep(0.05)  # long enough for the others to come along
        return build(corpus, path)

    def ask(service):
        together.wait()
        return service.answer("Belen", 1)

    monkeypatch.setattr(retrieval, "_build_index", count)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, [Retriever(make_corpus())] * 8))
    assert answers == [["Belen Tordal"]] * 8
    assert len(built) == 1


def test_many_threads_that_want_a_retriever_get_one(monkeypatch):
    class Slow(Retriever):
        def __init__(self, corpus):
            time.sleep(0.05)
            super().__init__(corpus)

    monkeypatch.setattr(retrieval, "Retriever", Slow)
    corpus = make_corpus((("Only here", "and nowhere else"),))
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(retriever, [corpus] * 8))
    assert len(found) == 1


def test_an_index_of_another_stemmer_is_not_read(monkeypatch):
    keys = [retrieval._index_key(make_corpus())]
    for package in ("PyStemmer", "bm25s"):
        versions = {"PyStemmer": "1", "bm25s": "1", package: "2"}
        monkeypatch.setattr(retrieval, "version", versions.get)
        keys.append(retrieval._index_key(make_corpus()))
    assert len(set(keys)) == 3


def test_titles_are_searched_as_well_as_texts():
    titled = make_corpus((("Zubil", "A place."), ("Other", "A thing.")))
    assert Retriever(titled).answer("where is zubil", 3) == ["Zubil"]


def test_words_are_compared_by_their_stems():
    assert Retriever(make_corpus()).answer("founding", 3) == ["Arvo Guild"]


def test_ties_go_by_position():
    same = make_corpus(tuple((f"T{i}", "the same words") for i in range(9)))
    assert Retriever(same).answer("same words", 4) == ["T0", "T1", "T2", "T3"]


def test_only_passages_that_share_a_word_come_up():
    assert Retriever(make_corpus()).answer("Belen", 4) == ["Belen Tordal", "Arvo Guild"]


@pytest.mark.parametrize("query", ["", " ", "the of", "qqq zzz", "x", "\ud800", "\x00", "?!", "漢"])
def test_a_query_without_a_known_word_gets_nothing(query):
    assert Retriever(make_corpus()).answer(query, 3) == []


def test_an_answer_belongs_to_the_caller():
    service = Retriever(make_corpus())
    service.answer("Belen", 3).clear()
    assert service.answer("Belen", 3) == ["Belen Tordal", "Arvo Guild"]


def test_a_repeated_query_is_not_searched_again():
    service = Retriever(make_corpus())
    for _ in range(5):
        service.answer(query="Belen", k=3)
    assert (service._memo.cache_info().misses, service._memo.cache_info().hits) == (1, 4)


def test_equal_fingerprints_share_a_retriever_in_a_process_and_over_pickles():
    service = retriever(make_corpus())
    assert retriever(make_corpus()) is service
    assert pickle.loads(pickle.dumps(service)) is service


def test_a_process_keeps_a_bounded_number_of_retrievers():
    for number in range(retrieval._SHARED + 3):
        retriever(Corpus((Passage("T", "text"),), f"bounded {number}"))
    assert len(retrieval._shared) == retrieval._SHARED
    assert f"bounded {retrieval._SHARED + 2}" in retrieval._shared


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def damage_flip(path):
    content = bytearray(path.read_bytes())
    at = content.index(b"data.npy") + 150
    content[at] ^= 0xFF
    path.write_bytes(content)


def damage_empty(path):
    path.write_bytes(b"")


def damage_swap(path):
    np.savez(path, data=1, indices=1, indptr=1, num_docs=99, words=np.frombuffer(b"{}", np.uint8))


def damage_other(path):
    np.savez(path, something=1)


def damage_kind(path):
    with path.open("wb") as file:
        np.save(file, np.arange(9))


@pytest.mark.parametrize(
    "damage",
    [damage_cut, damage_flip, damage_empty, damage_swap, damage_other, damage_kind],
)
def test_a_broken_index_file_is_told_and_built_again(damage, cache, caplog):
    expected = Retriever(make_corpus()).answer("Mora", 3)
    damage(index_file(cache))
    assert Retriever(make_corpus()).answer("Mora", 3) == expected
    assert "is broken" in caplog.text
    caplog.clear()
    assert Retriever(make_corpus()).answer("Mora", 3) == expected
    assert not caplog.text


def test_where_no_index_can_be_kept_the_search_works_and_says_so(cache, monkeypatch, caplog):
    (cache / "file").write_text("in the way")
    monkeypatch.setenv("PROGYM_CACHE", str(cache / "file"))
    with caplog.at_level(logging.WARNING):
        assert Retriever(make_corpus()).answer("Belen", 1) == ["Belen Tordal"]
    assert "could not be kept" in caplog.text


def test_an_interrupted_write_leaves_nothing_behind(cache, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Retriever(make_corpus()).answer("Belen", 1)
    assert list((cache / "bm25").iterdir()) == []


def test_the_cache_folder_is_the_users_unless_told(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv("PROGYM_CACHE")
    assert cache_folder().name == "progym"
