from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench import rng
from bench.rng.splitmix import splitmix64


def test_the_generator_is_splitmix64() -> None:
    # First outputs for seed 0, published with the reference code of SplitMix64.
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    drawn = splitmix64(torch.zeros(3, dtype=torch.int64), torch.arange(3))
    assert [int(value) % 2**64 for value in drawn] == expected


def test_values_are_uniform() -> None:
    values = rng.uniform(1, np.arange(200), 0, 500)
    assert values.dtype == np.float32
    assert float(values.min()) >= 0
    assert float(values.max()) < 1
    assert stats.kstest(values.ravel(), "uniform").pvalue > 0.001
    cells, _ = np.histogram(values, bins=100, range=(0, 1))
    assert stats.chisquare(cells).pvalue > 0.001


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (rng.uniform(0, np.arange(64), 0, 256), rng.uniform(1, np.arange(64), 0, 256)),
        (rng.uniform(0, np.arange(64), 0, 256), rng.uniform(0, np.arange(64), 1, 256)),
        (rng.uniform(0, np.arange(64), 0, 256), rng.uniform(0, np.arange(1, 65), 0, 256)),
        (rng.uniform(0, np.arange(64), 0, 257)[:, 1:], rng.uniform(0, np.arange(64), 0, 257)[:, :-1]),
        (rng.uniform(0, np.arange(64), 1, 256), rng.uniform(1, np.arange(64), 0, 256)),
    ],
    ids=["seed", "restart", "image", "pixel", "seed and restart do not commute"],
)
def test_neighbouring_counters_are_independent(one: np.ndarray, other: np.ndarray) -> None:
    correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(one.size)
    assert not (one == other).all(axis=1).any()


@given(st.integers(-(2**70), 2**70), st.permutations(list(range(-3, 6))), st.integers(0, 20))
def test_batching_and_order_do_not_matter(seed: int, order: list[int], restart: int) -> None:
    ids = np.array(order)
    together = rng.uniform(seed, ids, restart, 7)
    alone = np.concatenate([rng.uniform(seed, ids[i : i + 1], restart, 7) for i in range(len(ids))])
    assert together.tobytes() == alone.tobytes()


def test_points_fill_the_ball_uniformly() -> None:
    points = rng.uniform_in_ball(0, np.arange(4000), 0, 3).astype(np.float64)
    radii = np.linalg.norm(points, axis=1)
    assert stats.kstest(radii**3, "uniform").pvalue > 0.001
    # Each coordinate of a uniform direction in three dimensions is uniform in [-1, 1] (Archimedes).
    assert stats.kstest(points[:, 0] / radii, "uniform", args=(-1, 2)).pvalue > 0.001


def test_derived_seeds_depend_on_every_part() -> None:
    parts = [(1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1), (1, "ab", 0), (-1, "a", 0)]
    seeds = {rng.derived_seed(*part) for part in parts}
    assert len(seeds) == len(parts)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert rng.derived_seed("ab", "c") != rng.derived_seed("a", "bc")
