import hashlib
import re
from collections import Counter
from functools import cache
from itertools import combinations

import numpy as np
import pytest
import Stemmer

from progym.envs.errors import BadValue, UnknownName
from progym.envs.retrieval import retriever
from progym.envs.worlds import encyclopedia as world
from progym.envs.worlds.encyclopedia import Encyclopedia, encyclopedia
from progym.envs.worlds.encyclopedia_facts import hash_titles, splits_of
from progym.envs.worlds.encyclopedia_grammar import fill, load_grammar
from progym.envs.worlds.names import NAMES
from progym.envs.worlds.seeding import SIZES, SPLITS

# When this changes, what the splits hold has changed: raise `encyclopedia.VERSION`, put both here.
CONTENT = {"version": 3, "digest": "89ba5ef71a2720c3"}

SEEDS = (0, 1, 2, 1000, 1001, 1002, 1003)  # the tiny LM learns from pretrain's from 1000 on
SPLIT_PAIRS = list(combinations(SPLITS, 2))
KINDS = {kind.name for kind in load_grammar().kinds}
NOUNS = {relation.noun for relation in load_grammar().relations}
TRAITS = {word for kind in load_grammar().kinds for word in kind.adjectives + kind.features}
TITLES = {kind.title for kind in load_grammar().kinds}
NAME_SET = set(NAMES)


@pytest.fixture(autouse=True)
def index_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PROGYM_CACHE", str(tmp_path))


def masked(text, *, nouns=False):
    """Give a text with `_` for names, titles, kinds and traits, and for relations where asked."""
    names = "|".join(NAMES)
    text = re.sub(rf"\b(?:(?:{'|'.join(TITLES)}) )?(?:{names})(?: (?:{names}))?\b", "_", text)
    words = re.findall(r"\w+", text)
    hidden = KINDS | TRAITS | {"a", "an"} | (NOUNS if nouns else set())
    return " ".join("_" if word in hidden else word for word in words)


@cache
def sentences(split, nouns):
    passages = encyclopedia(split).corpus.passages
    return {masked(s, nouns=nouns) for p in passages for s in p.text.split(". ")}


@cache
def claims(split, nouns):
    examples = encyclopedia(split).examples()[:400]
    return {masked(example.inputs["claim"], nouns=nouns) for example in examples}


@cache
def facts(split, seed):
    """Give all (subject title, relation, object title) of an encyclopedia."""
    drawn, grammar = Encyclopedia(split, seed).facts, load_grammar()
    return {
        (subject.title, relation.noun, drawn.entities[target].title)
        for subject, targets in zip(drawn.entities, drawn.targets.tolist(), strict=True)
        for relation, target in zip(grammar.relations_of(subject.kind), targets, strict=False)
    }


def titles(split, seeds):
    return {subject for seed in seeds for subject, _, _ in facts(split, seed)}


def owners(subjects, objects):
    """Give the splits that may relate each subject to its object."""
    return {SPLITS[split] for split in splits_of(hash_titles(subjects), hash_titles(objects))}


@cache
def vocabulary(split):
    texts = [passage.text for passage in encyclopedia(split).corpus.passages]
    texts += [example.inputs["claim"] for example in encyclopedia(split).examples()[:400]]
    return {word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)} - NAME_SET


def test_content_is_the_content_of_this_version():
    digest = hashlib.sha256(repr(load_grammar()).encode())
    for split in SPLITS:
        digest.update(encyclopedia(split, 3).corpus.fingerprint.encode())
        for example in encyclopedia(split, 3).examples(100):
            digest.update(f"{example.id} {example.inputs} {example.gold}\n".encode())
    found = {"version": world.VERSION, "digest": digest.hexdigest()[:16]}
    assert found == CONTENT, "the world's content changed: raise VERSION with it"


def test_names_are_a_thousand_words_that_no_stemmer_confuses():
    stem = Stemmer.Stemmer("english").stemWord
    assert len({stem(name.lower()) for name in NAMES}) == len(NAMES) == 1000
    assert all(re.fullmatch("[A-Z][a-z]{3,7}", name) for name in NAMES)


@pytest.mark.parametrize("split", SPLITS)
def test_an_encyclopedia_has_2000_short_articles_with_titles_that_say_the_kind(split):
    passages = encyclopedia(split).corpus.passages
    lengths = [len(passage.text.split()) for passage in passages]
    assert len({passage.title for passage in passages}) == len(passages) >= 2000
    assert all(passage.title.split()[0] in TITLES for passage in passages)
    assert {passage.text.count(".") for passage in passages} == {3, 4}
    assert max(lengths) <= 45
    assert 22 <= sum(lengths) / len(lengths) <= 32


def test_the_same_seed_gives_the_same_world_and_another_seed_another():
    one, again, other = (Encyclopedia("val", seed) for seed in (5, 5, 6))
    assert one.corpus.passages == again.corpus.passages
    assert [one.example(i) for i in range(9)] == [again.example(i) for i in range(9)]
    assert not set(one.corpus.passages) & set(other.corpus.passages)
    assert one.corpus.fingerprint != other.corpus.fingerprint
    assert one.fingerprint() != other.fingerprint()


def test_an_example_is_the_same_in_every_size():
    few, many = encyclopedia("test").examples(3), encyclopedia("test").examples(300)
    assert list(few) == many[:3]
    assert encyclopedia("test").fingerprint(3) != encyclopedia("test").fingerprint(300)


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_has_its_default_size_and_no_chain_twice(split):
    chains = encyclopedia(split).facts.chains
    assert len(encyclopedia(split).examples()) == SIZES[split]
    assert len({tuple(chain) for chain in chains.tolist()}) == len(chains) >= 20_000


@pytest.mark.parametrize("split", SPLITS)
def test_two_titles_are_related_only_in_the_split_that_the_pair_belongs_to(split):
    for seed in SEEDS:
        subjects, _, objects = map(list, zip(*facts(split, seed), strict=True))
        assert owners(subjects, objects) == {split}


@pytest.mark.parametrize(("one", "other"), SPLIT_PAIRS)
def test_no_fact_of_one_split_stands_in_another_of_any_seed(one, other):
    told = [set().union(*(facts(split, seed) for seed in SEEDS)) for split in (one, other)]
    assert min(map(len, told)) > 25_000
    assert not told[0] & told[1]


@pytest.mark.parametrize("split", SPLITS)
def test_every_article_tells_two_facts_or_more_and_so_stands_in_no_other_split(split):
    text_of = {passage.title: passage.text for passage in encyclopedia(split).corpus.passages}
    told = Counter(subject for subject, _, _ in facts(split, 0))
    assert told.keys() == text_of.keys()
    assert min(told.values()) == 2
    assert all(there in text_of[here] for here, _, there in facts(split, 0))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", [0, 1000])
def test_every_step_of_a_chain_belongs_to_its_split_and_so_no_chain_stands_in_another(split, seed):
    chains = [example.gold["titles"] for example in encyclopedia(split, seed).examples(100)]
    for step in range(3):
        here, there = ([chain[i] for chain in chains] for i in (step, step + 1))
        assert owners(here, there) == {split}


@pytest.mark.parametrize("other", SPLITS)
@pytest.mark.parametrize("one", SPLITS)
def test_titles_recur_over_splits_as_often_as_over_seeds(one, other):
    mine, theirs = titles(one, (0, 1, 2)), titles(other, (1000, 1001, 1002))
    # Chance: of the 1,400 things of a seed, each is in three others with 1 - 0.86 ** 3 = 36 %.
    assert 0.21 < len(mine & theirs) / len(mine) < 0.28


def test_which_titles_one_may_be_related_to_says_nothing_about_another():
    hashes = hash_titles(sorted(titles("val", (0,))))
    splits = splits_of(hashes[:300, None], hashes[None])
    shares = np.array([(splits == split).mean(axis=1) for split in range(len(SPLITS))])
    same = (splits[0::2] == splits[1::2]).mean(axis=1)
    assert 0.2 < shares.min() <= shares.max() < 0.3
    assert 0.2 < same.min() <= same.max() < 0.3


@pytest.mark.parametrize("nouns", [False, True])
@pytest.mark.parametrize(("one", "other"), SPLIT_PAIRS)
def test_no_sentence_pattern_of_one_split_stands_in_another(one, other, nouns):
    assert not sentences(one, nouns) & sentences(other, nouns)
    assert not claims(one, nouns) & claims(other, nouns)


@pytest.mark.parametrize("split", SPLITS)
def test_every_relation_can_be_told_in_several_ways(split):
    assert min(len(r.sentences[split]) for r in load_grammar().relations) >= 4
    assert len(load_grammar().openings[split]) >= 2
    assert len(load_grammar().claims[split]) >= 2


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_all_words_of_a_split_occur_in_pretrain(split):
    assert vocabulary(split) <= vocabulary("pretrain")


@pytest.mark.parametrize("split", SPLITS)
def test_bm25_on_the_claim_finds_less_than_40_percent_within_the_budget(split):
    search, examples = retriever(encyclopedia(split).corpus), encyclopedia(split).examples()[:150]
    found = [
        len({*example.gold["titles"]} & {*search.answer(example.inputs["claim"], 4 * 3)}) / 4
        for example in examples
    ]
    assert sum(found) / len(found) < 0.4


@pytest.mark.parametrize("split", SPLITS)
def test_each_article_of_a_chain_names_of_the_others_only_the_next_and_only_in_its_text(split):
    text_of = {passage.title: passage.text for passage in encyclopedia(split).corpus.passages}
    for example in encyclopedia(split).examples()[:200]:
        chain = example.gold["titles"]
        for i, j in combinations(range(4), 2):
            assert (chain[j] in text_of[chain[i]]) == (j == i + 1)
            assert chain[i] not in text_of[chain[j]]
            assert not set(chain[i].split()) & set(chain[j].split()) & NAME_SET


@pytest.mark.parametrize("split", SPLITS)
def test_a_claim_names_the_first_article_the_relations_and_nothing_else(split):
    for example in encyclopedia(split).examples()[:200]:
        claim, first = example.inputs["claim"], example.gold["titles"][0]
        relations = [fact.split()[1] for fact in example.gold["facts"]]
        assert first in claim
        assert set(re.findall(r"\w+", claim)) & NAME_SET <= set(first.split())
        assert all(re.search(rf"\b{relation}\b", claim) for relation in relations)


def test_gold_facts_are_what_the_articles_tell():
    grammar = load_grammar()
    text_of = {passage.title: passage.text for passage in encyclopedia("train").corpus.passages}
    for example in encyclopedia("train").examples()[:100]:
        for fact, here, there in zip(
            example.gold["facts"], example.gold["titles"], example.gold["titles"][1:], strict=False
        ):
            noun = fact.split()[1]
            assert fact == f"the {noun} of {here} is {there}"
            (relation,) = [relation for relation in grammar.relations if relation.noun == noun]
            short = here.split()[-1]
            told = [fill(p, m=short, O=there) for p in relation.sentences["train"]]
            assert any(sentence in text_of[here] for sentence in told)


def test_articles_agree_with_the_word_behind_them():
    assert fill("{T} is a/an {adj} town.", T="Mora Town", adj="old") == "Mora Town is an old town."
    assert fill("{T} has a/an {adj}.", T="Mora", adj="fair") == "Mora has a fair."


def test_an_unknown_split_names_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'train'"):
        encyclopedia("trains")


@pytest.mark.parametrize("size", [0, -1, 10**9])
def test_a_size_that_the_world_does_not_have_is_refused(size):
    with pytest.raises(BadValue, match=r"size must be (a whole number, 1 or more|1 to)"):
        encyclopedia("val").examples(size)
