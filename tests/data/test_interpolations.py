from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data import interpolations
from bench.data.spec import Split

ROOT = Path("/nonexistent")


def one_hot_images(labels: list[int]) -> Split:
    """Image i is 1 at pixel i and 0 elsewhere, so that a mean names its two parents."""
    count = len(labels)
    images = np.eye(count, dtype=np.float32).reshape(count, 1, 1, count)
    return Split(images, np.array(labels, dtype=np.int64), 100 + np.arange(count))


def load(like: Split, seed: int = 0) -> Split:
    return interpolations.load(ROOT, like=like, image_shape=like.image_shape, seed=seed)["test"]


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30).filter(lambda x: len(set(x)) > 1), st.integers(0, 99))
def test_each_is_the_mean_of_its_own_image_and_one_of_another_class(labels: list[int], seed: int) -> None:
    made = load(one_hot_images(labels), seed)
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
        partners += load(like, seed).images.reshape(6, 6) > 0
    np.fill_diagonal(partners, 0)
    others = like.labels[:, None] != like.labels[None]
    assert (partners[~others] == 0).all()
    expected = seeds / others.sum(axis=1, keepdims=True) * others
    # Five standard deviations of a binomial count.
    assert (np.abs(partners - expected) <= 5 * np.sqrt(expected)).all()


def test_bytes_are_averaged_as_fractions() -> None:
    like = Split(np.array([10, 15], np.uint8).reshape(2, 1, 1, 1), np.array([0, 1]), np.arange(2, dtype=np.int64))
    np.testing.assert_allclose(load(like).images.ravel(), 12.5 / 255, rtol=1e-6)


def test_what_cannot_be_made_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        load(one_hot_images([3, 3, 3]))
    with pytest.raises(ValueError, match="labelled images"):
        load(one_hot_images([-1, -1, -1]))
    with pytest.raises(ValueError, match="give it"):
        interpolations.load(ROOT, like=None, image_shape=(1, 8, 8), seed=0)
    with pytest.raises(ValueError, match=r"has the shape \(1, 1, 2\), not \(1, 8, 8\)"):
        interpolations.load(ROOT, like=one_hot_images([0, 1]), image_shape=(1, 8, 8), seed=0)
