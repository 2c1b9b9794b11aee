from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.data import uniform
from bench.data.spec import Split

ROOT = Path("/nonexistent")


def like(count: int) -> Split:
    return Split(np.zeros((count, 1, 8, 8), np.float32), np.arange(count) % 10, np.arange(count))


def test_uniform_noise_is_uniform_and_seeded() -> None:
    made = uniform.load_uniform(ROOT, like=like(100), image_shape=(3, 8, 8), seed=1)["test"]
    assert made.images.shape == (100, 3, 8, 8)
    assert made.images.dtype == np.float32
    assert stats.kstest(made.images.ravel(), "uniform").pvalue > 1e-3
    again = uniform.load_uniform(ROOT, like=like(100), image_shape=(3, 8, 8), seed=1)["test"]
    np.testing.assert_array_equal(made.images, again.images)
    other = uniform.load_uniform(ROOT, like=like(100), image_shape=(3, 8, 8), seed=2)["test"]
    assert not np.array_equal(made.images, other.images)
    assert set(made.labels.tolist()) == {-1}


def test_constant_images_have_one_uniform_colour_each() -> None:
    made = uniform.load_constant(ROOT, like=like(400), image_shape=(3, 8, 8), seed=1)["test"]
    assert made.images.shape == (400, 3, 8, 8)
    assert (made.images == made.images[:, :, :1, :1]).all()
    colours = made.images[:, :, 0, 0]
    assert len(np.unique(colours)) == colours.size
    assert stats.kstest(colours.ravel(), "uniform").pvalue > 1e-3
    made.images[0] = 0  # a real array, not a broadcast view


@pytest.mark.parametrize("load", [uniform.load_uniform, uniform.load_constant])
def test_shape_and_number_are_needed(load: Any) -> None:
    with pytest.raises(ValueError, match="give both"):
        load(ROOT, like=None, image_shape=(1, 8, 8), seed=0)
    with pytest.raises(ValueError, match="give both"):
        load(ROOT, like=like(3), image_shape=None, seed=0)
