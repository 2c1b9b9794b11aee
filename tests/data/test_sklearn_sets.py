from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from sklearn.datasets import load_sample_images

from bench.data import sklearn_sets
from bench.data.spec import DamagedData, Split

ROOT = Path("/nonexistent")


def like(count: int, shape: tuple[int, int, int] = (1, 8, 8)) -> Split:
    return Split(np.zeros((count, *shape), np.float32), np.arange(count) % 10, np.arange(count))


def load(count: int, shape: tuple[int, int, int], seed: int = 0) -> Split:
    return sklearn_sets.load_patches(ROOT, like=like(count, shape), image_shape=shape, seed=seed)["test"]


def test_full_size_colour_patches_are_squares_of_the_photographs() -> None:
    photographs = load_sample_images().images
    found = load(12, (3, 32, 32))
    which = []
    for patch in np.rint(found.images * 255).astype(np.uint8):
        pixel = patch[:, 0, 0]
        hits = []
        for index, picture in enumerate(photographs):
            tops, lefts = np.nonzero((picture[:-31, :-31] == pixel).all(axis=2))
            hits += [
                index
                for top, left in zip(tops, lefts, strict=True)
                if np.array_equal(picture[top : top + 32, left : left + 32].transpose(2, 0, 1), patch)
            ]
        assert hits
        which.append(hits[0])
    assert set(which) == {0, 1}


@pytest.mark.parametrize(("size", "factor"), [(8, 4), (14, 3), (16, 2), (28, 2)])
def test_small_patches_are_box_means_of_patches_of_at_least_32_pixels(size: int, factor: int) -> None:
    # The same draws cut full patches when the shape is the crop itself.
    crop = size * factor
    assert crop >= 32
    assert crop - size < 32
    small, full = load(6, (3, size, size)), load(6, (3, crop, crop))
    blocks = full.images.astype(np.float64).reshape(6, 3, size, factor, size, factor)
    np.testing.assert_allclose(small.images, blocks.mean(axis=(3, 5)), atol=1e-6)


def test_oblong_shapes_use_one_factor_for_both_sides() -> None:
    small, full = load(4, (1, 8, 16)), load(4, (1, 32, 64))
    blocks = full.images.astype(np.float64).reshape(4, 1, 8, 4, 16, 4)
    np.testing.assert_allclose(small.images, blocks.mean(axis=(3, 5)), atol=1e-6)


def test_grey_patches_are_the_grey_of_the_colour_patches() -> None:
    grey, colour = load(5, (1, 32, 32)), load(5, (3, 32, 32))
    luma = np.tensordot(np.array([0.299, 0.587, 0.114]), colour.images.astype(np.float64), axes=(0, 1))
    np.testing.assert_allclose(grey.images[:, 0], luma, atol=1.01 / 255)


def test_seed_decides_and_labels_are_none() -> None:
    first = load(20, (1, 8, 8), seed=3)
    assert len(first) == 20
    np.testing.assert_array_equal(first.images, load(20, (1, 8, 8), seed=3).images)
    assert not np.array_equal(first.images, load(20, (1, 8, 8), seed=4).images)
    assert set(first.labels.tolist()) == {-1}
    assert len(np.unique(first.images.reshape(20, -1), axis=0)) == 20
    assert first.images.min() >= 0
    assert first.images.max() <= 1


def test_patches_that_cannot_be_made_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="give both"):
        sklearn_sets.load_patches(ROOT, like=None, image_shape=(1, 8, 8), seed=0)
    with pytest.raises(ValueError, match="500x500 pixels, the photographs have 427x640"):
        load(1, (1, 500, 500))
    with pytest.raises(ValueError, match="3 channels into 2"):
        load(1, (2, 8, 8))
    monkeypatch.setitem(sklearn_sets.PHOTOGRAPHS, "flower.jpg", "0" * 64)
    with pytest.raises(DamagedData, match=r"flower\.jpg has sha256 a77f6ec4"):
        load(1, (1, 8, 8))


def digits() -> Split:
    return sklearn_sets.load_digits(Path("/nonexistent"), like=None, image_shape=None, seed=0)["all"]


def test_digits_are_scikit_learns_divided_by_16() -> None:
    bunch = sklearn.datasets.load_digits()
    whole = digits()
    assert whole.images.shape == (1797, 1, 8, 8)
    assert whole.images.dtype == np.float32
    np.testing.assert_array_equal(whole.images[:, 0], bunch.images / 16)
    np.testing.assert_array_equal(whole.labels, bunch.target)
    np.testing.assert_array_equal(whole.ids, np.arange(1797))
    assert (whole.images.min(), whole.images.max()) == (0.0, 1.0)


@pytest.mark.parametrize("field", ["images", "target"])
def test_one_other_value_is_damage(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    bunch = sklearn.datasets.load_digits()
    bunch[field][5] = bunch[field][6]
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: bunch)
    with pytest.raises(DamagedData, match="expected 87ff0c9e"):
        digits()
