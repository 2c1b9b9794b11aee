"""Bits per dimension: closed forms for a uniform density and for a histogram, and what has none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as cases
from hypothesis import strategies as st
from torch import Tensor

from bench.data.spec import Split
from bench.data.splits import Splits
from bench.evaluate.likelihood import Likelihood, LikelihoodConfig, dequantised, levels_of
from bench.family import Model
from bench.spec import FAMILIES

SHAPE = (1, 2, 3)
KEEPS = Callable[..., None]


class Histogram(Model):
    """Independent pixels with a constant density in the cell of each of L values; probabilities (L,)."""

    def __init__(self, probabilities: list[float]) -> None:
        super().__init__(2, SHAPE)
        self.register_buffer("table", torch.tensor(probabilities, dtype=torch.float64))

    def log_density(self, images: Tensor) -> Tensor:
        levels = len(self.table)
        cells = (images.double() * levels).floor().long().clamp(0, levels - 1)
        return (self.table[cells] * levels).log().flatten(1).sum(dim=1)


def splits(values: Any, levels: int) -> Splits:
    images = (np.asarray(values) / (levels - 1)).astype(np.float32).reshape(-1, *SHAPE)
    split = Split.numbered(images, np.zeros(len(images), dtype=np.int64))
    return Splits(split, split, split)


def measured(given: Callable[..., Any], model: Model, config: LikelihoodConfig, data: Splits, keeps: KEEPS) -> Any:
    outcome = Likelihood().evaluate(config, given(model=model, splits=data))
    keeps(Likelihood(), config, outcome)
    return outcome


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_uniform_density_has_log2_of_the_levels(
    given: Callable[..., Any], keeps_its_word: KEEPS, levels: int
) -> None:
    values = np.random.default_rng(0).integers(0, levels, (5, 6))
    config = LikelihoodConfig(levels=levels)
    outcome = measured(given, Histogram([1 / levels] * levels), config, splits(values, levels), keeps_its_word)
    (number,) = outcome.numbers
    assert number.value == pytest.approx(math.log2(levels), abs=1e-12)
    assert number.interval is None  # the same for every item


def test_a_histogram_has_the_bits_of_its_discrete_probabilities_whatever_the_noise(
    given: Callable[..., Any], keeps_its_word: KEEPS
) -> None:
    probabilities = [0.1, 0.2, 0.3, 0.4]
    values = np.random.default_rng(1).integers(0, 4, (20, 6))
    each = -np.log2(np.asarray(probabilities)[values]).mean(axis=1)
    for seed, draws in ((0, 1), (5, 1), (0, 3)):
        config = LikelihoodConfig(levels=4, seed=seed, draws=draws)
        outcome = measured(given, Histogram(probabilities), config, splits(values, 4), keeps_its_word)
        (number,) = outcome.numbers
        np.testing.assert_allclose(outcome.items["bits"], each, rtol=1e-12)
        assert number.value == pytest.approx(each.mean())
        assert number.interval.low < each.mean() < number.interval.high


def test_noise_depends_on_the_item_alone(given: Callable[..., Any], keeps_its_word: KEEPS) -> None:
    class First(Model):
        def log_density(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, 0]

    values = np.random.default_rng(2).integers(0, 4, (6, 6))
    config = LikelihoodConfig(levels=4, draws=2)
    whole = measured(given, First(2, SHAPE), config, splits(values, 4), keeps_its_word)
    one = splits(values, 4)
    part = one.test.take(np.array([3, 1]))
    some = measured(given, First(2, SHAPE), config, Splits(one.train, one.validation, part), keeps_its_word)
    np.testing.assert_array_equal(some.items["bits"], whole.items["bits"][[3, 1]])


def test_images_on_other_levels_are_told_with_the_levels_that_fit(
    given: Callable[..., Any], keeps_its_word: KEEPS
) -> None:
    data = splits(np.arange(12) % 17, 17)
    (number,) = measured(given, Histogram([1.0]), LikelihoodConfig(), data, keeps_its_word).numbers
    assert number.reason == "the test images have other values than 256 levels; levels = 17 fits"
    anywhere = np.random.default_rng(3).random((2, *SHAPE), dtype=np.float32)
    some = Split.numbered(anywhere, np.zeros(2, dtype=np.int64))
    data = Splits(some, some, some)
    (number,) = measured(given, Histogram([1.0]), LikelihoodConfig(), data, keeps_its_word).numbers
    assert number.reason is not None
    assert "fits" not in number.reason


def test_a_density_of_zero_gives_no_number(given: Callable[..., Any], keeps_its_word: KEEPS) -> None:
    data = splits([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], 2)
    (number,) = measured(given, Histogram([1.0, 0.0]), LikelihoodConfig(levels=2), data, keeps_its_word).numbers
    assert (number.value, number.not_finite) == (None, 1)
    assert number.reason == "1 of 2 test items have no finite log p(x)"


@cases(st.integers(2, 256), st.data())
def test_dequantised_values_lie_in_the_cell_of_their_level(levels: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, levels - 1))
    noise = data.draw(st.floats(0, 1, exclude_max=True, width=32))
    image = np.float32([value / (levels - 1)])
    (found,) = dequantised(image, np.float32([noise]), levels)
    assert value / levels - 1e-6 <= found <= (value + 1) / levels + 1e-6
    assert levels_of(image, levels) == levels


def test_only_families_with_an_exact_density_have_it() -> None:
    assert Likelihood().not_applicable(FAMILIES.get("jem")) == "JEM has no exact density"
    assert Likelihood().not_applicable(FAMILIES.get("samples")) == "samples has no exact density"
