from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bench.evaluate import samples as module
from bench.evaluate.samples import center_distances, class_grid, generated, picture
from bench.family import Classifier, Samples

SHAPE = (1, 2, 2)
K = 3


class Generator(Classifier):
    """Its images have the brightness of their label over ten; class = brightness over 0.1, rounded."""

    def __init__(self, stored: Samples | None = None) -> None:
        super().__init__(K, SHAPE)
        self.weight = nn.Parameter(torch.zeros(()))
        self.stored = stored
        self.calls: list[dict[str, Any]] = []

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1).mean(1, keepdim=True)

    def classify(self, features: Tensor) -> Tensor:
        return -(features - torch.arange(K) / 10).abs()

    def stored_samples(self) -> Samples | None:
        return self.stored

    def sample(
        self, labels: Tensor, *, seed: int, index: Tensor, steps: int | None = None, start: Tensor | None = None
    ) -> Tensor:
        assert start is None
        self.calls.append({"labels": labels, "seed": seed, "index": index, "steps": steps})
        return (labels / 10)[:, None, None, None].expand(-1, *SHAPE) + index[:, None, None, None] / 1e6


def stored(labels: list[int], age: list[int], brightness: list[float] | None = None) -> Samples:
    """Image i has the brightness i / 1000, or what is given."""
    values = torch.arange(len(labels)) / 1000 if brightness is None else torch.tensor(brightness)
    return Samples(values[:, None, None, None].expand(-1, *SHAPE).clone(), torch.tensor(labels), torch.tensor(age))


def identities(samples: Samples) -> list[int]:
    return [int(i) for i in (samples.images[:, 0, 0, 0] * 1000).round()]


def take(model: Classifier, source: Any, n: int, seed: int = 0, steps: int | None = None) -> Samples:
    return generated(model, source, n, seed=seed, steps=steps, num_classes=K)


# --- from the buffer --------------------------------------------------------------------------------------------


def test_slots_that_are_still_noise_are_left_out() -> None:
    model = Generator(stored([0, 0, 1, 1, 2, 2], [0, 3, 1, 0, 7, 2]))
    found = take(model, "buffer-random-n", 100)
    rows = {i: (label, age) for i, label, age in zip(identities(found), found.labels, found.age, strict=True)}
    assert rows == {1: (0, 3), 2: (1, 1), 4: (2, 7), 5: (2, 2)}


def test_of_more_than_wanted_a_seeded_subset_is_taken() -> None:
    model = Generator(stored([i % K for i in range(60)], [1] * 60))
    subsets = [identities(take(model, "buffer-random-n", 20, seed=seed)) for seed in (0, 0, 1)]
    assert subsets[0] == subsets[1]
    assert set(subsets[0]) != set(subsets[2])
    assert all(len(set(subset)) == 20 for subset in subsets)
    # Not the beginning of the buffer, which in GMMC is the first classes.
    assert max(subsets[0]) > 40


@pytest.mark.parametrize("n", [200, 300])
def test_the_order_is_not_that_of_the_classes(n: int) -> None:
    """GMMC's buffer is sorted by class; a score over splits would see one class in each."""
    labels = [i // 100 for i in range(300)]
    found = take(Generator(stored(labels, [1] * 300)), "buffer-random-n", n)
    for split in found.labels.chunk(10):
        assert set(split.tolist()) == set(range(K))


def test_chains_without_a_class_get_the_predicted_one() -> None:
    model = Generator(stored([-1, 1, -1, -1], [1, 1, 1, 1], [0.2, 0.2, 0.01, 0.12]))
    found = take(model, "buffer-random-n", 10)
    by_brightness = {round(float(image.mean()), 2): int(label) for image, label in zip(*found_pair(found), strict=True)}
    assert by_brightness[0.01] == 0
    assert by_brightness[0.12] == 1
    assert sorted(found.labels.tolist()) == [0, 1, 1, 2]


def found_pair(samples: Samples) -> tuple[Tensor, Tensor]:
    return samples.images, samples.labels


def test_an_empty_or_unused_buffer_is_an_error() -> None:
    with pytest.raises(ValueError, match="kept no samples"):
        take(Generator(None), "buffer-random-n", 10)
    with pytest.raises(ValueError, match="still noise"):
        take(Generator(stored([0, 1], [0, 0])), "buffer-random-n", 10)


def test_all_of_the_buffer_whatever_the_number() -> None:
    model = Generator(stored([0, 0, 1, 1, 2, 2], [0, 3, 1, 0, 7, 2]))
    assert sorted(identities(take(model, "buffer-all", 1))) == [1, 2, 4, 5]


def test_the_most_confident_of_each_predicted_class() -> None:
    """The model's logits are minus the distances of the brightness from 0, 0.1 and 0.2: most confident at the class."""
    brightness = [0.0, 0.03, 0.04, 0.1, 0.12, 0.2, 0.19, 0.17, 0.01]
    intended = [2, 1, 0, 0, 1, 2, 2, 0, 0]  # the class of the chain does not count
    age = [1] * 8 + [0]  # the last slot is still noise: confident, but no sample
    model = Generator(stored(intended, age, brightness))
    found = generated(model, "buffer-top-k-per-class", 1, seed=0, steps=None, num_classes=K, per_class=2)
    assert sorted(round(float(image.mean()), 2) for image in found.images) == [0.0, 0.03, 0.1, 0.12, 0.19, 0.2]
    assert found.counts == {"slots": 9, "never_updated": 1, "updated_once": 8, "candidates": 6}
    # The labels stay those of the chains, so that agreement is measured as for other selections.
    labels = {round(float(image.mean()), 2): int(label) for image, label in zip(*found_pair(found), strict=True)}
    assert labels == {0.0: 2, 0.03: 1, 0.1: 0, 0.12: 1, 0.2: 2, 0.19: 2}
    assert sorted(found.origin.tolist()) == [0, 1, 3, 4, 5, 6]
    few = generated(model, "buffer-top-k-per-class", 1, seed=0, steps=None, num_classes=K, per_class=9)
    assert len(few.images) == 8


class Saturated(Generator):
    """Logits so large that every softmax is 1 in float32; the margin is a thousand times the brightness."""

    def classify(self, features: Tensor) -> Tensor:
        return torch.cat([1000 * features + 100, torch.zeros(len(features), K - 1)], dim=1)


def test_confidences_that_float32_rounds_to_one_are_still_ranked() -> None:
    model = Saturated(stored([0] * 50, [1] * 50))
    found = generated(model, "buffer-top-k-per-class", 1, seed=0, steps=None, num_classes=K, per_class=5)
    assert sorted(identities(found)) == [45, 46, 47, 48, 49]


def test_images_without_finite_logits_have_no_confidence() -> None:
    model = Generator(stored([0, 0, 0], [1, 1, 1], [0.01, float("nan"), 0.02]))
    found = generated(model, "buffer-top-k-per-class", 1, seed=0, steps=None, num_classes=K, per_class=9)
    assert sorted(found.origin.tolist()) == [0, 2]
    broken = Generator(stored([0, 0], [1, 1], [float("nan")] * 2))
    with pytest.raises(ValueError, match="no image in the buffer has finite logits"):
        generated(broken, "buffer-top-k-per-class", 1, seed=0, steps=None, num_classes=K, per_class=9)


def test_without_ages_nobody_knows_what_was_never_updated() -> None:
    model = Generator(stored([0, 1, 2], [1, 1, 1]))
    found = generated(model, "buffer-all", 1, seed=0, steps=None, num_classes=K, ages_known=False)
    assert found.counts == {"slots": 3, "never_updated": None, "updated_once": None, "candidates": 3}


# --- fresh chains -----------------------------------------------------------------------------------------------


def test_fresh_chains_take_classes_in_turn_and_are_numbered() -> None:
    model = Generator()
    found = take(model, "fresh-k-steps", 7, seed=5, steps=9)
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    (call,) = model.calls
    assert (call["seed"], call["steps"]) == (5, 9)
    assert call["index"].tolist() == list(range(7))
    assert torch.allclose(found.images[:, 0, 0, 0], found.labels / 10 + torch.arange(7) / 1e6)


def test_fresh_chains_do_not_depend_on_the_batches_they_are_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = take(Generator(), "fresh-k-steps", 11)
    monkeypatch.setattr(module, "BATCH", 4)
    model = Generator()
    parts = take(model, "fresh-k-steps", 11)
    assert [len(call["labels"]) for call in model.calls] == [4, 4, 3]
    assert torch.equal(parts.images, whole.images)
    assert torch.equal(parts.labels, whole.labels)


# --- how they are shown -----------------------------------------------------------------------------------------


def test_rows_are_classes_and_the_oldest_come_first() -> None:
    """One pixel of grey between images of 2x2; a class with too few leaves grey."""
    samples = stored([0, 0, 0, 2], [1, 9, 5, 4], [0.0, 0.2, 0.4, 1.0])
    grid = class_grid(samples, K, columns=2)
    assert grid.shape == (3 * 3 - 1, 2 * 3 - 1, 1)
    picture_of = grid[:, :, 0]
    assert (picture_of[0:2, 0:2] == 51).all()  # age 9: 0.2 * 255
    assert (picture_of[0:2, 3:5] == 102).all()  # age 5: 0.4 * 255
    assert (picture_of[6:8, 0:2] == 255).all()
    empty = np.ones_like(picture_of, dtype=bool)
    empty[0:2, 0:2] = empty[0:2, 3:5] = empty[6:8, 0:2] = False
    assert (picture_of[empty] == 128).all()


def test_grey_levels_are_rounded_and_not_truncated() -> None:
    samples = stored([0, 0, 0], [3, 2, 1], [0.6 / 255, 99.4 / 255, 254.9 / 255])
    grid = class_grid(samples, 1, columns=3)
    assert [int(grid[0, column, 0]) for column in (0, 3, 6)] == [1, 99, 255]


def test_colours_stay_in_their_channels() -> None:
    images = torch.tensor([1.0, 0.0, 0.2])[None, :, None, None].expand(1, 3, 2, 2)
    grid = class_grid(Samples(images, torch.tensor([0]), torch.tensor([1])), 1, columns=1)
    assert grid.shape == (2, 2, 3)
    assert (grid == np.array([255, 0, 51])).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_enlarged_by_a_whole_factor(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    image = Image.open(io.BytesIO(picture(pixels, least_side=23)))
    assert image.format == "PNG"
    assert image.size == (7 * 4, 5 * 4)
    assert image.mode == ("L" if channels == 1 else "RGB")
    shown = np.asarray(image).reshape(20, 28, channels)
    np.testing.assert_array_equal(shown, pixels.repeat(4, axis=0).repeat(4, axis=1))


def test_large_pictures_stay_as_they_are() -> None:
    pixels = np.zeros((600, 500, 1), dtype=np.uint8)
    assert Image.open(io.BytesIO(picture(pixels))).size == (500, 600)


class Centred(Generator):
    """Features are brightness; the center of class k is k/10."""

    def class_centers(self) -> Tensor:
        return torch.arange(K).double()[:, None] / 10


def test_distances_to_the_centers_of_the_own_or_the_predicted_class() -> None:
    # Of the last image no class is known: its brightness .21 is nearest to that of class 2.
    samples = stored([0, 1, 2, -1], [1, 1, 1, 1], [0.05, 0.1, 0.5, 0.21])
    found = center_distances(Centred(), samples)
    assert found == pytest.approx([0.05, 0.0, 0.3, 0.01], abs=1e-6)
    assert center_distances(Generator(), samples) is None


def test_a_grid_in_another_order() -> None:
    samples = stored([0, 0, 1], [3, 2, 1], [0.2, 0.6, 0.4])
    oldest = class_grid(samples, 2, 1)
    other = class_grid(samples, 2, 1, np.array([0.9, 0.1, 0.0]))
    assert (oldest[0, 0, 0], other[0, 0, 0]) == (round(0.2 * 255), round(0.6 * 255))
    assert oldest[-1, 0, 0] == other[-1, 0, 0] == round(0.4 * 255)
