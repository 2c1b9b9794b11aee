"""Random numbers of rows: a hash of seed, index, step and element, with the distributions that it should have."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.rng import indexed_integers, indexed_noise, indexed_normal, indexed_uniform, indexed_unit, permutation

SHAPE = (2, 4, 5)
SIZE = math.prod(SHAPE)


def splitmix64(state: int, counter: int) -> int:
    """Output number ``counter`` of the published generator, in Python's integers."""
    mask = 2**64 - 1
    z = (state + (counter + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_the_oracle_is_splitmix64() -> None:
    # First outputs of the reference implementation for seed 1234567.
    assert [splitmix64(1234567, k) for k in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(-(2**70), 2**70),
    index=st.integers(-5, 2**62),
    step=st.integers(0, 2**40),
    length=st.integers(1, 9),
)
def test_indexed_noise_is_the_hash_of_its_four_coordinates(seed: int, index: int, step: int, length: int) -> None:
    found = indexed_noise(seed, torch.tensor([index]), "cpu")(step, (1, length))[0]
    uniform = indexed_uniform(seed, torch.tensor([index]), (length,), "cpu")[0]
    key = splitmix64(splitmix64(seed % 2**64, 0), index)
    other = splitmix64(splitmix64(seed % 2**64, 1), index)
    for element in range(length):
        bits = splitmix64(splitmix64(key, step), element // 2)
        radius = math.sqrt(-2 * math.log(((bits >> 32) + 0.5) / 2**32))
        angle = 2 * math.pi * (bits % 2**32) / 2**32
        expected = radius * (math.sin(angle) if element % 2 else math.cos(angle))
        assert found[element].item() == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert uniform[element].item() == (splitmix64(other, element) >> 40) / 2**23 - 1


def test_indexed_randomness_ignores_batch_and_shape() -> None:
    index = torch.tensor([5, 0, 123456789, 7])
    whole = indexed_noise(1, index, "cpu")(2, (4, 3, 5, 5))
    uniform = indexed_uniform(1, index, (3, 5, 5), "cpu")
    assert whole.dtype == uniform.dtype == torch.float32
    for row, one in enumerate(index):
        assert torch.equal(indexed_noise(1, one[None], "cpu")(2, (1, 75))[0], whole[row].flatten())
        assert torch.equal(indexed_uniform(1, one[None], (3, 5, 5), "cpu")[0], uniform[row])
    assert torch.equal(indexed_noise(1, index.flip(0).int(), "cpu")(2, (4, 3, 5, 5)), whole.flip(0))


def test_indexed_noise_is_standard_normal_and_uncorrelated() -> None:
    rows, length = 60, 4001
    noise = indexed_noise(0, torch.arange(rows), "cpu")
    now, later = noise(0, (rows, length)).double(), noise(1, (rows, length)).double()
    other_seed = indexed_noise(1, torch.arange(rows), "cpu")(0, (rows, length)).double()
    uniform = indexed_uniform(0, torch.arange(rows), (length,), "cpu").double()
    assert stats.kstest(now.flatten().numpy(), "norm").pvalue > 1e-3
    assert now.square().mean().item() == pytest.approx(1, abs=5 * math.sqrt(2 / now.numel()))
    for first, second in (
        (now, later),
        (now, other_seed),
        (now, uniform),
        (now[1:], now[:-1]),
        (now[:, 1:], now[:, :-1]),
        (now.square(), now.roll(1, 1).square()),
    ):
        correlation = torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1].item()
        assert abs(correlation) < 5 / math.sqrt(first.numel())


def test_indexed_uniform_is_uniform_on_its_interval() -> None:
    drawn = indexed_uniform(3, torch.arange(50), (3, 20, 20), "cpu")
    assert drawn.min() >= -1
    assert drawn.max() <= 1
    assert stats.kstest(drawn.flatten().double().numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_noise_refuses_wrong_rows() -> None:
    with pytest.raises(ValueError, match=r"indices must be integers of shape \(N,\)"):
        indexed_noise(0, torch.zeros(3), "cpu")
    with pytest.raises(ValueError, match=r"indices must be integers of shape \(N,\)"):
        indexed_uniform(0, torch.zeros(3, 1, dtype=torch.int64), (2,), "cpu")
    with pytest.raises(ValueError, match="noise is for 3 indices"):
        indexed_noise(0, torch.arange(3), "cpu")(0, (4, 2))


# --- normal starts ------------------------------------------------------------------------------------------


def test_normal_starts_belong_to_seed_and_index() -> None:
    index = torch.tensor([3, 900, 3, 2**40])
    drawn = indexed_normal(7, index, SHAPE, "cpu")
    assert drawn.shape == (4, *SHAPE)
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1:2], indexed_normal(7, index[1:2], SHAPE, "cpu"))
    assert not torch.equal(drawn, indexed_normal(8, index, SHAPE, "cpu"))


def test_normal_starts_are_standard_normal_and_independent_of_the_noise_of_steps() -> None:
    index = torch.arange(2000)
    drawn = indexed_normal(1, index, SHAPE, "cpu").flatten()
    assert stats.kstest(drawn.numpy(), "norm").pvalue > 1e-3
    others = [indexed_noise(1, index, "cpu")(step, (2000, *SHAPE)).flatten() for step in (0, 1)]
    others.append(indexed_uniform(1, index, SHAPE, "cpu").flatten())
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([drawn, other]))[0, 1])) < 5 / len(drawn) ** 0.5


# --- numbers, integers and orders ---------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(-(2**70), 2**70), index=st.integers(-5, 2**62), high=st.integers(1, 2**40))
def test_one_number_a_row_is_the_hash_of_seed_and_index(seed: int, index: int, high: int) -> None:
    key = splitmix64(splitmix64(seed % 2**64, 3), index)
    unit = (key >> 11) / 2**53
    assert indexed_unit(seed, torch.tensor([index])).tolist() == [unit]
    found = indexed_integers(seed, torch.tensor([index]), high)
    assert found.tolist() == [int(unit * high)]
    assert 0 <= int(found) < high


def test_integers_are_uniform_below_the_bound_of_each_row() -> None:
    rows = torch.arange(30_000)
    high = torch.tensor([3, 7, 12])[rows % 3]
    drawn = indexed_integers(4, rows, high)
    assert drawn.dtype == torch.int64
    for which, count in enumerate((3, 7, 12)):
        counts = torch.bincount(drawn[rows % 3 == which], minlength=count)
        assert len(counts) == count
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_the_largest_number_stays_below_every_bound() -> None:
    largest = 1 - 2.0**-53
    assert all(int(torch.tensor(largest, dtype=torch.float64) * high) < high for high in (1, 3, 10_000, 2**40 + 1))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**63), count=st.integers(0, 50))
def test_an_order_sorts_the_keys_of_its_items(seed: int, count: int) -> None:
    keys = [splitmix64(splitmix64(seed % 2**64, 3), item) for item in range(count)]
    signed = [key - 2**64 if key >= 2**63 else key for key in keys]
    assert permutation(seed, count, "cpu").tolist() == sorted(range(count), key=signed.__getitem__)


def test_every_order_is_equally_likely() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(6000):
        order = tuple(permutation(seed, 4, "cpu").tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3
