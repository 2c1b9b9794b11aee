from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks.frozen import frozen


def snapshot(model: nn.Module) -> tuple[Any, ...]:
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    gradients = [None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()]
    weights = [value.numpy().tobytes() for value in model.state_dict().values()]
    generators = (
        random.getstate(),
        np.random.get_state()[1].tobytes(),  # type: ignore[union-attr]  # noqa: NPY002
        torch.get_rng_state().numpy().tobytes(),
    )
    return modes, flags, gradients, weights, generators, torch.is_grad_enabled()


def unusual(model: nn.Module) -> nn.Module:
    """Training mode with a BatchNorm in evaluation mode, one frozen weight, one filled gradient."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    parameters = list(model.parameters())
    parameters[0].requires_grad_(False)
    parameters[-1].grad = torch.ones_like(parameters[-1])
    return model


def test_everything_is_given_back(convolutional: Any) -> None:
    model = unusual(convolutional.model)
    before = snapshot(model)
    with frozen(model) as view:
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        images = convolutional.images.clone().requires_grad_()
        view.logits(images).sum().backward()
        torch.rand(3)
        np.random.rand(3)  # noqa: NPY002
        random.random()
    assert snapshot(model) == before


def test_everything_is_given_back_after_an_exception(convolutional: Any) -> None:
    model = unusual(convolutional.model)
    before = snapshot(model)
    with pytest.raises(RuntimeError), frozen(model) as view:
        view.logits(torch.rand(2, 1, 1, 1))  # drawn inside, and of the wrong shape
    assert snapshot(model) == before


def test_gradients_are_available_under_no_grad(convolutional: Any) -> None:
    with torch.no_grad(), frozen(convolutional.model) as view:
        assert view.logits(convolutional.images.clone().requires_grad_()).requires_grad


def test_passes_are_counted_in_images(convolutional: Any) -> None:
    with frozen(convolutional.model) as view:
        view.logits(convolutional.images[:5])
        images = convolutional.images[:7].clone().requires_grad_()
        torch.autograd.grad(view.logits(images).sum(), images)
        assert view.forwards == 12


def test_logits_and_features_take_one_pass_where_the_model_has_both(convolutional: Any) -> None:
    """A module of which only ``features`` is known goes forward twice; what comes out is the same."""

    class Both(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return self.logits_and_features(images)[0]

        def features(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :3]

        def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
            features = self.features(images)
            return 2 * features, features

    class Twice(Both):
        logits_and_features = None  # type: ignore[assignment]

        def forward(self, images: Tensor) -> Tensor:
            return 2 * self.features(images)

    found = []
    for model, passes in ((Both(), 1), (Twice(), 2)):
        images = convolutional.images.clone().requires_grad_()
        with frozen(model) as view:
            logits, features, counted = view.logits_and_features(images)
            assert counted == passes
            assert view.forwards == passes * len(images)
        assert (logits.requires_grad, features.requires_grad) == (False, True)
        found.append((logits, features.detach()))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_a_model_that_needs_contiguous_images_gets_them(of_images: Any, convolutional: Any) -> None:
    images = convolutional.images[:1]
    with frozen(of_images(lambda x: x.view(len(x), -1)[:, :2])) as view:
        assert view.memory_format(images) == torch.contiguous_format
    with frozen(convolutional.model) as view:
        assert view.memory_format(images) == torch.channels_last


@pytest.mark.parametrize("function", [lambda x: x, lambda x: x.sum(), lambda x: x.flatten(1)[:, :1]])
def test_outputs_that_are_no_logits_are_refused(of_images: Any, convolutional: Any, function: Any) -> None:
    with frozen(of_images(function)) as view, pytest.raises(ValueError, match="logits"):
        view.logits(convolutional.images)


def test_missing_features_and_centers_are_named(convolutional: Any) -> None:
    with frozen(convolutional.model) as view:
        with pytest.raises(ValueError, match=r"Convolutional has no features\(x\)"):
            view.logits_and_features(convolutional.images)
        with pytest.raises(ValueError, match=r"Convolutional has no class_centers\(\)"):
            view.class_centers()
