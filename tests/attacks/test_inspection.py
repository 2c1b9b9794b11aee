from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.attacks import inspect_outputs

IMAGES = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def test_an_ordinary_model_has_no_traits(convolutional: Any) -> None:
    traits = inspect_outputs(convolutional.model.train(), convolutional.images)  # dropout is off inside
    assert (traits.probabilities, traits.random, traits.batch_dependent, traits.dynamic) == (False,) * 4
    assert traits.not_finite_share == 0.0
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


def test_company_in_the_batch_that_changes_a_prediction_is_seen(of_images: Any) -> None:
    # Class 1 for who is darker than the mean of its batch: the first half is darker than the second.
    images = torch.linspace(0, 1, 6).view(6, 1, 1, 1).expand(6, 3, 4, 4)

    def function(x: torch.Tensor) -> torch.Tensor:
        brightness = x.flatten(1).mean(dim=1)
        return torch.stack([brightness, brightness.mean().expand(len(x))], dim=1)

    traits = inspect_outputs(of_images(function), images)
    assert (traits.random, traits.batch_dependent) == (False, True)


@pytest.mark.parametrize("how", ["grad", "backward"])
def test_gradients_inside_the_forward_pass_are_seen(of_images: Any, how: str) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        inner = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            energy = inner.square().sum()
            if how == "grad":
                (slope,) = torch.autograd.grad(energy, inner)
            else:
                energy.backward()
                assert inner.grad is not None
                slope = inner.grad
        return (x - 0.1 * slope).flatten(1)[:, :3]

    before = torch.autograd.grad, torch.autograd.backward
    model = of_images(function)
    assert inspect_outputs(model, IMAGES).dynamic
    assert (torch.autograd.grad, torch.autograd.backward) == before


def test_no_image_is_an_error(of_images: Any) -> None:
    with pytest.raises(ValueError, match="N >= 1"):
        inspect_outputs(of_images(lambda x: x.flatten(1)), IMAGES[:0])
