import hashlib
import re
from itertools import combinations

import numpy as np
import pytest

from progym.envs.errors import BadValue, UnknownName
from progym.envs.worlds import intents as world
from progym.envs.worlds.intents_grammar import CLOSERS, OPENERS, SLOTS, TYPO_RATE, mistype, variants
from progym.envs.worlds.seeding import SIZES, SPLITS

# When this changes, what the splits hold has changed: raise `intents.VERSION` and put both here.
CONTENT = {"version": 1, "digest": "167482dc2bc188d1"}

SPLIT_PAIRS = list(combinations(SPLITS, 2))
PERSONS = {"son", "daughter", "brother", "sister", "uncle", "aunt", "he", "she"}
SLOT_VALUES = sorted(PERSONS.union(*SLOTS.values()), key=len, reverse=True)
SLOT_VALUE = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, SLOT_VALUES))})(?!\w)")


def words(text):
    return re.findall(r"\{?[a-z']+\}?", text.lower())


def patterns(split):
    """All sentences of a split, choices written out, without punctuation."""
    return {
        " ".join(words(variant))
        for intent in world.INTENTS.values()
        for sentence in intent.sentences[split]
        for variant in variants(sentence)
    }


def masked(text):
    """Give a text as words with `_` for each slot or slot value, framed by spaces."""
    text = SLOT_VALUE.sub("_", re.sub(r"\{\w+\}", "_", text)).replace("cannot", "can not")
    return " ".join(["", *re.findall(r"_|[a-z']+", text.lower()), ""])


def runs(split, length):
    return {
        tuple(sentence.split()[start : start + length])
        for sentence in patterns(split)
        for start in range(len(sentence.split()) - length + 1)
    }


def test_content_is_the_content_of_this_version():
    # The tables as well as what is written from them: a draw may miss a sentence.
    digest = hashlib.sha256(repr([world.INTENTS, OPENERS, CLOSERS, SLOTS]).encode())
    for split in SPLITS:
        for example in world.intents(split, 3, 154):
            digest.update(f"{example.id} {example.inputs} {example.gold}\n".encode())
    found = {"version": world.VERSION, "digest": digest.hexdigest()[:16]}
    assert found == CONTENT, "the world's content changed: raise VERSION with it"


def test_an_example_depends_on_seed_split_and_index_only():
    small, large = world.intents("test", 5, 300), world.intents("test", 5, 1000)
    backwards = [small[index] for index in reversed(range(300))]
    assert backwards == large[299::-1]


def test_another_world_seed_writes_other_messages():
    first, second = (world.intents("test", seed, 154) for seed in (0, 1))
    same = sum(a.inputs == b.inputs for a, b in zip(first, second, strict=True))
    assert same <= 3


@pytest.mark.parametrize("split", SPLITS)
def test_every_block_of_77_holds_each_label_once(split):
    labels = [example.gold["label"] for example in world.intents(split, 2, 231)]
    for start in (0, 77, 154):
        assert sorted(labels[start : start + 77]) == sorted(world.LABELS)
    assert labels[:77] != labels[77:154]


@pytest.mark.parametrize(("one", "other"), SPLIT_PAIRS)
def test_no_sentence_of_one_split_stands_in_another(one, other):
    padded = [f" {sentence} " for sentence in patterns(other)]
    found = [s for s in patterns(one) if any(f" {s} " in sentence for sentence in padded)]
    assert found == []
    assert patterns(one).isdisjoint(patterns(other))


@pytest.mark.parametrize(("one", "other"), SPLIT_PAIRS)
def test_splits_share_no_run_of_six_words(one, other):
    assert runs(one, 6) & runs(other, 6) == set()


@pytest.mark.parametrize(("one", "other"), SPLIT_PAIRS)
def test_openers_and_closers_belong_to_one_split(one, other):
    assert set(OPENERS[one]).isdisjoint(OPENERS[other])
    assert set(CLOSERS[one]).isdisjoint(CLOSERS[other])


@pytest.mark.parametrize(("one", "other"), SPLIT_PAIRS)
def test_no_message_of_one_split_holds_a_sentence_of_another(one, other):
    for writing, quoted in ((one, other), (other, one)):
        sentences = {masked(sentence) for sentence in patterns(quoted)}
        messages = {masked(example.inputs["text"]) for example in world.intents(writing, 0, 770)}
        assert [(m, s) for m in messages for s in sentences if s in m] == []


def test_no_two_intents_share_a_sentence():
    sentences = [s for i in world.INTENTS.values() for split in SPLITS for s in i.sentences[split]]
    assert len(sentences) == len(set(sentences))


def test_every_intent_has_several_sentences_a_split():
    for intent in world.INTENTS.values():
        assert [len(intent.sentences[split]) for split in SPLITS] == [3, 2, 3, 6], intent.label


def test_all_slots_are_filled():
    for split in SPLITS:
        for example in world.intents(split, 4, 770):
            assert not set("{}[]|") & set(example.inputs["text"])


def test_a_typo_changes_one_word_by_one_letter():
    text = "Why has the transfer to Spain not arrived?"
    for seed in range(50):
        typed = mistype(text, np.random.default_rng(seed))
        changed = [(a, b) for a, b in zip(text.split(), typed.split(), strict=True) if a != b]
        assert len(changed) <= 1
        assert all(abs(len(a) - len(b)) <= 1 and a[0] == b[0] for a, b in changed)


def test_typos_are_few():
    known = {word for split in SPLITS for s in patterns(split) for word in words(s)}
    known |= {word for value in SLOT_VALUES for word in words(value)}
    known |= {w for split in SPLITS for s in OPENERS[split] + CLOSERS[split] for w in words(s)}
    examples = world.intents("test", 0, 1540)
    met = [{word for word in words(e.inputs["text"]) if "'" not in word} for e in examples]
    mistyped = sum(not message <= known for message in met)
    assert TYPO_RATE / 2 < mistyped / len(examples) < TYPO_RATE * 1.5


def test_the_vocabulary_is_small():
    vocabulary = {word for split in SPLITS for s in patterns(split) for word in words(s)}
    assert len(vocabulary) < 900


def test_pretraining_knows_most_words_of_the_other_splits():
    known = {word for sentence in patterns("pretrain") for word in words(sentence)}
    for split in ("train", "val", "test"):
        met = [word for sentence in patterns(split) for word in words(sentence)]
        assert sum(word in known for word in met) > 0.85 * len(met)


def test_glosses_are_distinct_and_short_and_groups_are_few():
    assert len(world.LABELS) == len(set(world.GLOSSES.values())) == 77
    assert all(3 <= len(gloss.split()) <= 9 for gloss in world.GLOSSES.values())
    assert 10 <= len(set(world.GROUPS.values())) <= 12


def test_a_gloss_shares_words_with_the_sentences_of_every_split():
    for intent in world.INTENTS.values():
        gloss = {word for word in words(intent.gloss) if len(word) > 2}
        for split in SPLITS:
            said = {w for sentence in intent.sentences[split] for w in words(sentence)}
            assert gloss & said, f"{intent.label} {split}"


def test_fingerprints_differ_by_seed_split_and_size_and_defaults_are_spelled_out():
    kinds = [("val", 0, 5), ("val", 1, 5), ("test", 0, 5), ("val", 0, 6)]
    assert len({world.fingerprint(*kind) for kind in kinds}) == 4
    assert world.fingerprint("val") == world.fingerprint("val", 0, SIZES["val"])


def test_an_unknown_split_and_an_empty_size_are_refused():
    with pytest.raises(UnknownName, match="Did you mean 'test'"):
        world.intents("tset")
    with pytest.raises(BadValue, match="1 or more"):
        world.intents("test", size=0)
