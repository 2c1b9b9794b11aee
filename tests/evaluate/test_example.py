"""The evaluation in examples/evaluation is what people start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.data.spec import Split
from bench.data.splits import Splits
from bench.evaluate.base import EVALUATIONS, Evaluation
from bench.family import Classifier

EXAMPLE = Path(__file__).parents[2] / "examples" / "evaluation"


class Bright(Classifier):
    """Class 1 where the mean pixel is above 0.5; no answer for images whose first pixel is 0."""

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        mean = features.mean(dim=1)
        mean = torch.where(features[:, 0] == 0, torch.nan, mean)
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return EVALUATIONS.get("gaussian_noise:NOISE")


def test_it_means_what_it_says(
    noise: Evaluation, given: Callable[..., Any], keeps_its_word: Callable[..., None]
) -> None:
    """Noise that is small against the distance to the boundary changes no answer, and larger noise does."""
    levels = np.repeat(np.linspace(0.3, 0.7, 40), 10).astype(np.float32)
    images = np.ones((400, 1, 4, 4), np.float32) * levels[:, None, None, None]
    test = Split(images, (levels > 0.5).astype(np.int64), np.arange(1000, 1400))
    inputs = given(model=Bright(2, (1, 4, 4)).eval(), splits=Splits(test, test, test))
    accuracies = []
    for sigma in (1e-4, 0.1, 0.5):
        config = noise.Config(sigmas=(sigma,), batch_size=150)
        outcome = noise.evaluate(config, inputs)
        keeps_its_word(noise, config, outcome)
        (number,) = outcome.numbers
        assert (number.n, number.value) == (400, outcome.items["correct"].mean())
        accuracies.append(number.value)
    assert accuracies[0] == 1
    # The mean of 16 values moves by N(0, (0.1 / 4)^2): it crosses 0.5 for the share below of the levels.
    expected = 1 - np.mean([_tail(abs(level - 0.5) / 0.025) for level in levels])
    assert accuracies[1] == pytest.approx(expected, abs=0.03)
    assert accuracies[2] < accuracies[1]


def _tail(z: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(-z))


def test_an_item_without_finite_logits_is_wrong(noise: Evaluation, given: Callable[..., Any]) -> None:
    images = np.ones((8, 1, 4, 4), np.float32)
    images[:3, 0, 0, 0] = -1e6  # below 0 with any noise: clipped to 0
    test = Split(images, np.ones(8, np.int64), np.arange(8))
    outcome = noise.evaluate(
        noise.Config(sigmas=(0.01,)), given(model=Bright(2, (1, 4, 4)).eval(), splits=Splits(test, test, test))
    )
    (number,) = outcome.numbers
    assert (number.value, number.not_finite) == (5 / 8, 3)


def test_noise_belongs_to_the_item(noise: Evaluation) -> None:
    """Not to its place in a batch; and its values are standard normal."""
    import gaussian_noise

    values = gaussian_noise.gaussian(3, np.array([5, 9]), 20_000)
    assert (gaussian_noise.gaussian(3, np.array([9]), 20_000)[0] == values[1]).all()
    assert not (gaussian_noise.gaussian(4, np.array([9]), 20_000)[0] == values[1]).any()
    assert abs(values.mean()) < 0.03
    assert values.std() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(values)[0, 1]) < 0.03
