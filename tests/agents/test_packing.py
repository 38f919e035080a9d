"""Packing lays sequences out as trees in which every token sees exactly its own past."""

from itertools import pairwise, product

import numpy as np
import pytest

from progym.agents.grpo.packing import Plan, cut, lay_out, plan_trees

FEW = [(1, 2, 3), (1, 2, 4, 5), (6,), (1, 2)]


def random_sequences(seed):
    """Sequences of up to 12 tokens over an alphabet of two, so that many begin alike."""
    rng = np.random.default_rng(seed)
    return [tuple(map(int, rng.integers(2, size=int(rng.integers(1, 12))))) for _ in range(30)]


def seen(packed, place):
    """The tokens a place may see under the mask."""
    return [j for j in range(place + 1) if place < packed.ends[j]]


@pytest.mark.parametrize("sequences", [FEW, random_sequences(0), random_sequences(1)])
def test_every_token_sees_its_own_sequence_and_nothing_else(sequences):
    packed = lay_out(sequences)
    assert packed.paths.keys() == set(range(len(sequences)))
    for index, path in packed.paths.items():
        assert tuple(packed.token_ids[place] for place in path) == sequences[index]
        assert all(seen(packed, place) == path[: i + 1] for i, place in enumerate(path))
        assert [packed.positions[place] for place in path] == list(range(len(path)))


@pytest.mark.parametrize("sequences", [FEW, random_sequences(0), random_sequences(1)])
def test_a_token_that_sequences_share_is_laid_out_once(sequences):
    assert len(lay_out(sequences).token_ids) == distinct(sequences)


@pytest.mark.parametrize("limit", [1, 12, 20, 1000])
def test_trees_stay_within_the_limit_and_hold_every_sequence_once(limit):
    sequences = random_sequences(2)
    trees = cut(sequences, limit)
    assert sorted(index for tree in trees for index in tree) == list(range(len(sequences)))
    for tree in trees:
        size = distinct([sequences[index] for index in tree])
        assert size <= limit or len(tree) == 1


@pytest.mark.parametrize("limit", [12, 20])
def test_no_other_cut_within_the_limit_has_fewer_tokens(limit):
    sequences = sorted(random_sequences(3)[:8])
    found = sum(distinct([sequences[index] for index in tree]) for tree in cut(sequences, limit))
    for cuts in product([False, True], repeat=7):
        ends = [i + 1 for i, here in enumerate(cuts) if here] + [8]
        sizes = [distinct(sequences[start:end]) for start, end in pairwise([0, *ends])]
        assert found <= sum(sizes) or max(sizes) > limit


HEAD = tuple(range(100, 120))


def test_what_all_prompts_begin_with_stands_before_the_trees():
    rows = [((*HEAD, 1, prompt), (2, token)) for prompt in range(3) for token in range(3)]
    plan = plan_trees(rows, limit=25)
    assert plan.head == (*HEAD, 1)
    assert sorted(row for tree in plan.trees for row in tree) == list(range(9))
    assert plan_trees(rows, limit=1000) == Plan((), [list(range(9))])


def test_a_head_leaves_every_prompt_the_token_that_predicts_the_first_of_its_completion():
    rows = [(HEAD, (1, token, 2)) for token in range(9)]
    assert plan_trees(rows, limit=10).head == HEAD[:-1]


def test_rows_without_tokens_are_computed_with_others_or_alone():
    blank, row = ((0,), ()), (HEAD, (1, 2))
    assert plan_trees([blank, blank], limit=5).trees == [[0, 1]]
    assert plan_trees([blank, row, blank], limit=500).trees == [[1, 0, 2]]


def distinct(sequences):
    """The number of tree nodes: distinct beginnings."""
    return len({sequence[:end] for sequence in sequences for end in range(1, len(sequence) + 1)})
