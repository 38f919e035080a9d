"""The text space admits any string, samples by its seed, and batches."""

from __future__ import annotations

import pytest
from gymnasium.spaces import Tuple
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st

from progym.envs.text_space import TextSpace


@given(st.text())
def test_every_string_is_in_it(text):
    assert TextSpace().contains(text)


@pytest.mark.parametrize("value", [b"bytes", 3, None, ["a"]])
def test_what_is_no_string_is_not_in_it(value):
    assert not TextSpace().contains(value)


def test_the_seed_decides_the_samples():
    one, two, other = (TextSpace(seed) for seed in (0, 0, 1))

    samples = [[space.sample() for _ in range(5)] for space in (one, two, other)]

    assert samples[0] == samples[1] != samples[2]


def test_a_batch_is_a_tuple_of_texts():
    batch = batch_space(TextSpace(), 3)

    assert isinstance(batch, Tuple)
    assert batch.contains(("a", "", "漢\n"))


def test_it_takes_no_mask():
    with pytest.raises(ValueError, match="mask"):
        TextSpace().sample(mask=1)
