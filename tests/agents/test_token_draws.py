"""A token is drawn where the sum of chances passes the row's number."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from progym.agents.models.token_draws import draw_tokens

LAST = float(np.nextafter(1.0, 0.0))
sizes = st.sampled_from([1, 7, 96, 256, 768, 1000])
numbers = st.floats(0, LAST) | st.sampled_from([0.0, LAST])


@given(sizes, st.integers(0, 99), numbers, st.floats(0, 0.99))
def test_it_is_the_token_of_one_long_sum(size, seed, uniform, hidden):
    chances = draw_chances(size, seed, hidden)
    found = int(draw_tokens(chances, torch.tensor([uniform], dtype=torch.float64)))
    sums = chances[0].double().numpy().cumsum()
    below = sums[found - 1] if found else 0.0
    slack = 1e-6 * sums[-1]  # single precision within a block
    assert chances[0, found] > 0
    assert below - slack <= uniform * sums[-1] <= sums[found] + slack


def test_shares_of_draws_are_the_chances():
    chances = torch.tensor([[0.5, 0.0, 0.2, 0.3]] * 40_000)
    uniforms = torch.from_numpy(np.random.default_rng(0).random(40_000))
    counts = draw_tokens(chances, uniforms).bincount(minlength=4)
    assert (counts / 40_000 - chances[0]).abs().max() < 0.01
    assert counts[1] == 0


def draw_chances(size, seed, hidden):
    """Chances of single precision, some zero, at least one not."""
    rng = np.random.default_rng(seed)
    chances = rng.random(size).astype(np.float32) ** 8
    chances[rng.random(size) < hidden] = 0
    chances[rng.integers(size)] = 0.01
    return torch.from_numpy(chances / chances.sum())[None]
