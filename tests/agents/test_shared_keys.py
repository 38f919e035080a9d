"""Keys that stand once for many rows give each row the attention it would have alone."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from progym.agents.models.shared_keys import SharedKeys, append, average, join

HEADS, GROUP, SIZE = 2, 3, 4
COUNTS = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def shared_keys(generator, start, lengths, counts):
    """Make keys of some sequences, shorter ones masked on the left."""
    width = max(lengths)
    keys, values = (
        torch.randn(len(lengths), HEADS, width, SIZE, generator=generator) for _ in range(2)
    )
    mask = torch.arange(width) >= width - torch.tensor(lengths)[:, None]
    return SharedKeys([(keys, values)], start, counts, mask[:, None, None])


def alone(query, keys, row):
    """Attend for one row, with nothing but what it may see."""
    owner = [place for place, count in enumerate(keys.counts) for _ in range(count)][row]
    seen = keys.mask[owner, 0, 0]
    ours, values = (part[owner : owner + 1, :, seen] for part in keys.layers[0])
    return (
        scaled_dot_product_attention(query[row : row + 1], ours, values, scale=1.0),
        (query[row : row + 1] @ ours.transpose(-1, -2)).logsumexp(-1, keepdim=True),
    )


@settings(max_examples=50, deadline=None)
@given(COUNTS, st.data())
def test_every_row_attends_as_if_alone(counts, data):
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    lengths = [data.draw(st.integers(1, 6)) for _ in counts]
    keys = shared_keys(generator, 0, lengths, counts)
    query = torch.randn(sum(counts), HEADS, GROUP, SIZE, generator=generator)
    output, weight = keys.attend(query, 0)
    for row in range(sum(counts)):
        expected, sums = alone(query, keys, row)
        assert torch.allclose(output[row], expected[0], atol=1e-5)
        assert torch.allclose(weight[row], sums[0], atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(COUNTS, st.integers(0, 3), st.data())
def test_rows_that_stay_attend_as_before(counts, start, data):
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    keys = shared_keys(generator, start, [3] * len(counts), counts)
    everyone = start + sum(counts) + 2  # rows before and after look at other keys
    kept = sorted(data.draw(st.sets(st.integers(0, everyone - 1), min_size=1)))
    query = torch.randn(sum(counts), HEADS, GROUP, SIZE, generator=generator)
    mine = [row - start for row in kept if start <= row < keys.stop]
    left = keys.keep(kept)
    if not mine or left is None:
        assert left is None
        assert not mine
        return
    assert [kept[row] - start for row in range(left.start, left.stop)] == mine
    assert all(left.counts)
    assert len(left.layers[0][0]) == len(left.counts)  # nobody's keys are gone
    before, after = keys.attend(query, 0)[0][mine], left.attend(query[mine], 0)[0]
    assert torch.allclose(before, after, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_parts_of_about_as_many_columns_are_joined_and_change_nothing(widths):
    generator, parts = torch.Generator().manual_seed(0), []
    for width in sorted(widths):
        start = parts[-1].stop if parts else 0
        parts.append(shared_keys(generator, start, [width, 1], [2, 1]))
    query = torch.randn(parts[-1].stop, HEADS, GROUP, SIZE, generator=generator)
    joined = list(join(parts))
    together, apart = (
        torch.cat([keys.attend(query[keys.start : keys.stop], 0)[0] for keys in found])
        for found in (joined, parts)
    )
    assert torch.allclose(together, apart, atol=1e-5)
    for one, other in pairwise(joined):
        assert one.columns < other.columns


def test_parts_of_one_width_become_one():
    generator = torch.Generator().manual_seed(0)
    parts = [shared_keys(generator, 2 * at, [5, 4], [1, 1]) for at in range(3)]
    assert [(keys.start, keys.stop) for keys in join(parts)] == [(0, 6)]


@pytest.mark.parametrize("size", [1e3, 1e-3])
def test_log_sums_hold_for_large_and_small_scores(size):
    scores = size * torch.linspace(-1, 1, 12).view(1, 1, 2, 6)
    _, weight = average(scores.clone(), torch.ones(1, 1, 6, SIZE))
    assert torch.allclose(weight, scores.logsumexp(-1, keepdim=True))


def test_a_head_that_further_rows_look_at_stays_one_product():
    generator = torch.Generator().manual_seed(0)
    prompts = shared_keys(generator, 0, [3, 2], [2, 1])
    head = SharedKeys(shared_keys(generator, 0, [4], [3]).layers, 0, [3])
    again, below = replace(head, start=3, counts=[2]), replace(prompts, start=3, counts=[1, 1])
    found = append([head, prompts], [again, below])
    assert [(one.start, one.stop) for one in found] == [(0, 5), (0, 3), (3, 5)]
    query = torch.randn(5, HEADS, GROUP, SIZE, generator=generator)
    both = torch.cat([head.attend(query[:3], 0)[0], again.attend(query[3:], 0)[0]])
    assert torch.allclose(found[0].attend(query, 0)[0], both, atol=1e-5)


def test_a_head_of_other_rows_is_a_product_of_its_own():
    head = SharedKeys(shared_keys(torch.Generator(), 0, [4], [3]).layers, 0, [3])
    apart, other = replace(head, start=5), replace(head, layers=list(head.layers), start=3)
    assert append([head], [apart]) == [head, apart]
    assert append([head], [other]) == [head, other]
