from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.data import generated
from bench.data.spec import Split

ROOT = Path("/nonexistent")


def one_hot_images(labels: list[int]) -> Split:
    """Image i is 1 at pixel i and 0 elsewhere, so that a mean names its two parents."""
    count = len(labels)
    images = np.eye(count, dtype=np.float32).reshape(count, 1, 1, count)
    return Split(images, np.array(labels, dtype=np.int64), 100 + np.arange(count))


def interpolated(like: Split, seed: int = 0) -> Split:
    return generated.load_interpolations(ROOT, like=like, image_shape=like.image_shape, seed=seed)["test"]


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30).filter(lambda x: len(set(x)) > 1), st.integers(0, 99))
def test_each_is_the_mean_of_its_own_image_and_one_of_another_class(labels: list[int], seed: int) -> None:
    made = interpolated(one_hot_images(labels), seed)
    assert made.images.dtype == np.float32
    assert len(made) == len(labels)
    flat: npt.NDArray[np.float32] = made.unit_images().reshape(len(labels), -1)
    for index in range(len(labels)):
        image = flat[index]
        parents = np.flatnonzero(image)
        assert image[parents].tolist() == [0.5, 0.5]
        assert index in parents
        assert labels[parents[0]] != labels[parents[1]]
    assert set(made.labels.tolist()) == {-1}


def test_every_image_of_another_class_is_an_equally_likely_partner() -> None:
    like = one_hot_images([1, 0, 1, 2, 0, 1])
    seeds = 3000
    partners = np.zeros((6, 6))
    for seed in range(seeds):
        partners += interpolated(like, seed).images.reshape(6, 6) > 0
    np.fill_diagonal(partners, 0)
    others = like.labels[:, None] != like.labels[None]
    assert (partners[~others] == 0).all()
    expected = seeds / others.sum(axis=1, keepdims=True) * others
    # Five standard deviations of a binomial count.
    assert (np.abs(partners - expected) <= 5 * np.sqrt(expected)).all()


def test_bytes_are_averaged_as_fractions() -> None:
    like = Split(np.array([10, 15], np.uint8).reshape(2, 1, 1, 1), np.array([0, 1]), np.arange(2, dtype=np.int64))
    np.testing.assert_allclose(interpolated(like).images.ravel(), 12.5 / 255, rtol=1e-6)


def test_interpolations_that_cannot_be_made_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        interpolated(one_hot_images([3, 3, 3]))
    with pytest.raises(ValueError, match="labelled images"):
        interpolated(one_hot_images([-1, -1, -1]))
    with pytest.raises(ValueError, match="give it"):
        generated.load_interpolations(ROOT, like=None, image_shape=(1, 8, 8), seed=0)
    with pytest.raises(ValueError, match=r"has the shape \(1, 1, 2\), not \(1, 8, 8\)"):
        generated.load_interpolations(ROOT, like=one_hot_images([0, 1]), image_shape=(1, 8, 8), seed=0)


def blank(count: int) -> Split:
    return Split(np.zeros((count, 1, 8, 8), np.float32), np.arange(count) % 10, np.arange(count))


def test_uniform_noise_is_uniform_and_seeded() -> None:
    made = generated.load_uniform(ROOT, like=blank(100), image_shape=(3, 8, 8), seed=1)["test"]
    assert made.images.shape == (100, 3, 8, 8)
    assert made.images.dtype == np.float32
    assert stats.kstest(made.images.ravel(), "uniform").pvalue > 1e-3
    again = generated.load_uniform(ROOT, like=blank(100), image_shape=(3, 8, 8), seed=1)["test"]
    np.testing.assert_array_equal(made.images, again.images)
    other = generated.load_uniform(ROOT, like=blank(100), image_shape=(3, 8, 8), seed=2)["test"]
    assert not np.array_equal(made.images, other.images)
    assert set(made.labels.tolist()) == {-1}


def test_constant_images_have_one_uniform_colour_each() -> None:
    made = generated.load_constant(ROOT, like=blank(400), image_shape=(3, 8, 8), seed=1)["test"]
    assert made.images.shape == (400, 3, 8, 8)
    assert (made.images == made.images[:, :, :1, :1]).all()
    colours = made.images[:, :, 0, 0]
    assert len(np.unique(colours)) == colours.size
    assert stats.kstest(colours.ravel(), "uniform").pvalue > 1e-3
    made.images[0] = 0  # a real array, not a broadcast view


@pytest.mark.parametrize("load", [generated.load_uniform, generated.load_constant])
def test_shape_and_number_are_needed(load: Any) -> None:
    with pytest.raises(ValueError, match="give both"):
        load(ROOT, like=None, image_shape=(1, 8, 8), seed=0)
    with pytest.raises(ValueError, match="give both"):
        load(ROOT, like=blank(3), image_shape=None, seed=0)
