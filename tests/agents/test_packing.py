"""Packing lays sequences out as trees in which every token sees exactly its own past."""

from itertools import pairwise, product

import numpy as np
import pytest

from progym.agents.grpo.packing import pack

FEW = [(1, 2, 3), (1, 2, 4, 5), (6,), (1, 2)]


def random_sequences(seed):
    """Sequences of up to 12 tokens over an alphabet of two, so that many begin alike."""
    rng = np.random.default_rng(seed)
    return [tuple(map(int, rng.integers(2, size=int(rng.integers(1, 12))))) for _ in range(30)]


def seen(packed, place):
    """The tokens a place may see under the mask."""
    return [j for j in range(place + 1) if place < packed.ends[j]]


@pytest.mark.parametrize("sequences", [FEW, random_sequences(0), random_sequences(1)])
@pytest.mark.parametrize("limit", [1, 16, 1000])
def test_every_token_sees_its_own_sequence_and_nothing_else(sequences, limit):
    found = {}
    for packed in pack(sequences, square=30, limit=limit):
        for index, path in packed.paths.items():
            found[index] = tuple(packed.token_ids[place] for place in path)
            assert all(seen(packed, place) == path[: i + 1] for i, place in enumerate(path))
            assert [packed.positions[place] for place in path] == list(range(len(path)))
    assert found == dict(enumerate(sequences))


def test_a_token_that_sequences_share_is_laid_out_once():
    [packed] = pack([(1, 2, 3), (1, 2, 4, 5), (1, 2)], square=1000)
    assert sorted(packed.token_ids) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("limit", [12, 20])
def test_packs_stay_within_the_limit(limit):
    assert all(
        len(packed.token_ids) <= limit
        for packed in pack(random_sequences(2), square=1e9, limit=limit)
    )


@pytest.mark.parametrize("square", [10, 100])
def test_no_other_cut_costs_less(square):
    sequences = random_sequences(3)[:8]
    found = sum(cost(len(packed.token_ids), square) for packed in pack(sequences, square=square))
    ranked = sorted(sequences)
    for cuts in product([False, True], repeat=7):
        ends = [i + 1 for i, cut in enumerate(cuts) if cut] + [8]
        parts = [ranked[start:end] for start, end in pairwise([0, *ends])]
        assert found <= sum(cost(distinct(part), square) for part in parts) + 1e-9


def cost(size, square):
    return size + size * size / square


def distinct(sequences):
    """The number of tree nodes: distinct beginnings."""
    return len({sequence[:end] for sequence in sequences for end in range(1, len(sequence) + 1)})


def test_no_sequences_need_no_pack():
    assert pack([], square=10) == []
