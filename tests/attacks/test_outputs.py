from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.attacks import inspect_outputs

IMAGES = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def test_an_ordinary_model_has_no_traits(convolutional: Any) -> None:
    traits = inspect_outputs(convolutional.model.train(), convolutional.images)  # dropout is off inside
    assert (traits.probabilities, traits.random, traits.not_finite_share) == (False, False, 0.0)
    assert convolutional.model.training


def test_probabilities_are_seen(of_images: Any) -> None:
    model = of_images(lambda x: x.flatten(1)[:, :5].softmax(dim=1))
    assert inspect_outputs(model, IMAGES).probabilities
    scaled = of_images(lambda x: 0.5 * x.flatten(1)[:, :5].softmax(dim=1))
    assert not inspect_outputs(scaled, IMAGES).probabilities


def test_noise_is_seen_and_leaves_the_generator_alone(of_images: Any) -> None:
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    assert inspect_outputs(of_images(lambda x: torch.randn(len(x), 3)), IMAGES).random
    assert torch.rand(1) == expected


def test_values_that_are_not_finite_are_counted_and_not_taken_for_noise(of_images: Any) -> None:
    def function(images: torch.Tensor) -> torch.Tensor:
        logits = images.flatten(1)[:, :3].clone()
        logits[0, 1], logits[1, 2] = torch.nan, torch.inf
        return logits

    traits = inspect_outputs(of_images(function), IMAGES)
    assert traits.not_finite_share == pytest.approx(2 / 6)
    assert not traits.random


def test_no_image_is_an_error(of_images: Any) -> None:
    with pytest.raises(ValueError, match="N >= 1"):
        inspect_outputs(of_images(lambda x: x.flatten(1)), IMAGES[:0])
