"""Generated corruptions: against formulas, against the library, and as functions of seed and item alone."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.data.cifar_c import CORRUPTIONS
from bench.data.spec import Split
from bench.evaluate import corrupted as module
from bench.evaluate.corrupted import (
    LIBRARY,
    VERSION,
    corrupt,
    corrupted,
    eight_bits,
    kept_corruptions,
    not_installed,
    unfit,
)

imagecorruptions = pytest.importorskip("imagecorruptions")

EVERY = [(name, level) for name in CORRUPTIONS for level in range(1, 6)]


def pictures(count: int, side: int, channels: int) -> NDArray[np.uint8]:
    """Smooth pictures with noise: corruptions do little to what has no structure."""
    draw = np.random.default_rng(side)
    grid = np.arange(side) / side
    waves = np.sin(2 * np.pi * (grid[:, None] * draw.random((count, channels, 1, 1)) * 2 + grid))
    return ((waves * 0.3 + 0.5 + 0.1 * draw.random((count, channels, side, side))) * 255).astype(np.uint8)


def test_the_names_are_the_librarys() -> None:
    assert tuple(imagecorruptions.get_corruption_names("common")) == CORRUPTIONS
    assert metadata.version(LIBRARY) == VERSION
    assert not_installed() is None


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_colour_images_are_what_the_front_door_of_the_library_makes(name: str) -> None:
    image = pictures(1, 32, 3)[0]
    for level in (1, 5):
        np.random.seed(7)  # noqa: NPY002 - the library draws from it
        own = {"seed": 7} if name in ("impulse_noise", "glass_blur") else {}
        theirs = imagecorruptions.corrupt(image.transpose(1, 2, 0), severity=level, corruption_name=name, **own)
        np.testing.assert_array_equal(corrupt(image, name, level, 7), theirs.transpose(2, 0, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_and_brightness_have_closed_forms(channels: int) -> None:
    image = pictures(1, 28, channels)[0]
    x = image / 255
    mean = x.mean(axis=(1, 2), keepdims=True)
    # The value of HSV is the largest channel; hue and saturation are kept if all channels grow alike.
    largest = x.max(axis=0)
    for level, factor, added in zip(range(1, 6), (0.4, 0.3, 0.2, 0.1, 0.05), (0.1, 0.2, 0.3, 0.4, 0.5), strict=True):
        expected = {
            "contrast": (x - mean) * factor + mean,
            "brightness": x * np.clip(largest + added, 0, 1) / largest,
        }
        for name, values in expected.items():  # whole numbers are cut, not rounded
            found = corrupt(image, name, level, 0)
            assert np.abs(found - (values.clip(0, 1) * 255 - 0.5)).max() <= 0.5 + 1e-6, name


def state() -> NDArray[np.uint32]:
    """The state of NumPy's global generator."""
    found = np.random.get_state(legacy=False)  # noqa: NPY002
    return np.array(found["state"]["key"])


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("side", "channels"), [(28, 1), (14, 3)])
def test_an_image_depends_on_seed_and_item_alone(name: str, side: int, channels: int) -> None:
    images, ids = pictures(4, side, channels), np.array([5, 2, 9, 40])
    before = state()
    whole = corrupted(images, ids, name, 2, seed=1)
    np.testing.assert_array_equal(state(), before)
    np.random.seed(99)  # noqa: NPY002 - another state of the global generator
    order = np.array([3, 1])
    np.testing.assert_array_equal(corrupted(images[order], ids[order], name, 2, seed=1), whole[order])
    assert whole.shape == images.shape
    assert whole.dtype == np.uint8
    assert (whole != images).any()


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "glass_blur", "motion_blur", "snow", "frost"])
def test_other_seeds_items_and_severities_have_other_noise(name: str) -> None:
    image = np.repeat(pictures(1, 32, 3), 2, axis=0)
    first = corrupted(image, [0, 1], name, 1, seed=0)
    assert (first[0] != first[1]).any()
    assert (corrupted(image, [0, 1], name, 1, seed=1)[0] != first[0]).any()
    assert (corrupted(image, [0, 1], name, 2, seed=0)[0] != first[0]).any()


def test_channels_are_blurred_by_motion_alike() -> None:
    grey = pictures(1, 28, 1)[0]
    colour = corrupt(np.repeat(grey, 3, axis=0), "motion_blur", 3, 5)
    np.testing.assert_array_equal(colour[0], colour[2])
    np.testing.assert_array_equal(corrupt(grey, "motion_blur", 3, 5)[0], colour[0])


@pytest.mark.parametrize("side", [8, 14, 28, 32])
def test_motion_that_leaves_the_image_would_darken_it(side: int) -> None:
    """Of a white image the library keeps the weight that stays inside, the least where the motion follows an axis."""
    white = np.full((1, side, side), 255, np.uint8)
    for level in range(1, 6):
        kept = min(corrupt(white, "motion_blur", level, seed).mean() for seed in range(60)) / 255
        lost = module._lost(*module._MOTION["motion_blur"][level - 1], side)
        assert 1 - kept == pytest.approx(lost, abs=0.03)
        assert (unfit("motion_blur", level, side, side) is None) == (lost <= 0.1)


def test_where_glass_and_zoom_would_do_nothing() -> None:
    for side in range(5, 13):
        image = pictures(1, side, 3)[0]
        for level in range(1, 6):
            made = [corrupt(image, "glass_blur", level, seed) for seed in range(4)]
            exchanged = any((one != made[0]).any() for one in made)
            assert exchanged == (unfit("glass_blur", level, side, side) is None), (side, level)
    for side in (4, 5, 8, 28):
        image = pictures(1, side, 3)[0]
        for level in range(1, 6):
            same = np.abs(corrupt(image, "zoom_blur", level, 0).astype(int) - image).max() <= 1
            assert same == (unfit("zoom_blur", level, side, side) is not None), (side, level)
    assert unfit("pixelate", 5, 3, 28) == "no pixel would be left"


def test_what_fits_which_size() -> None:
    def absent(side: int) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for name, level in EVERY:
            if unfit(name, level, side, side):
                found.setdefault(name, []).append(level)
        return found

    assert absent(32) == absent(28) == {}
    assert absent(14) == {"motion_blur": [4, 5], "snow": [5]}
    assert absent(8) == {"glass_blur": [5], "motion_blur": [2, 3, 4, 5], "snow": [3, 4, 5]}


def test_other_channels_are_refused_and_fractions_are_rounded() -> None:
    with pytest.raises(ValueError, match="2 channels, expected 1 or 3"):
        corrupt(np.zeros((2, 8, 8), np.uint8), "fog", 1, 0)
    values = np.array([0, 0.4 / 255, 0.6 / 255, 1], np.float32).reshape(1, 1, 2, 2)
    assert eight_bits(Split.numbered(values)).ravel().tolist() == [0, 0, 1, 255]
    whole = pictures(2, 8, 3)
    np.testing.assert_array_equal(eight_bits(Split.numbered(whole)), whole)


def test_corrupted_images_are_made_once_for_all_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images, ids = pictures(4, 32, 3), np.arange(4) + 10
    expected = corrupted(images, ids, "fog", 2, seed=1)
    calls: list[tuple[str, int]] = []

    def counted(images: Any, ids: Any, name: str, level: int, seed: int) -> NDArray[np.uint8]:
        calls.append((name, level))
        return corrupted(images, ids, name, level, seed)

    monkeypatch.setattr(module, "corrupted", counted)
    for _ in range(2):  # a job for each of two models
        assert (kept_corruptions(images, ids, 1, "../own data.npz")("fog", 2) == expected).all()
    assert calls == [("fog", 2)]
    (kept,) = tmp_path.rglob("*.npz")
    assert kept.name.startswith(".._own_data.npz-4x3x32x32-seed1-fog-2-")
    kept.write_bytes(kept.read_bytes()[:-50])  # damaged
    assert (kept_corruptions(images, ids, 1, "../own data.npz")("fog", 2) == expected).all()
    # Other pixels, items, seeds and levels are other images.
    kept_corruptions(images, ids + 1, 1, "a")("fog", 2)
    kept_corruptions(255 - images, ids, 1, "a")("fog", 2)
    kept_corruptions(images, ids, 2, "a")("fog", 2)
    kept_corruptions(images, ids, 1, "a")("fog", 3)
    assert len(calls) == 6


def test_the_version_of_the_library_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "2.0")
    assert not_installed() == f"needs {LIBRARY} {VERSION}, found 2.0 (pip install 'gmmc-bench[corruptions]')"

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert not_installed() == f"needs {LIBRARY} (pip install 'gmmc-bench[corruptions]')"
