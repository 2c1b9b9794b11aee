"""Toy models whose robustness is known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

SHAPE = (3, 4, 4)
PIXELS = 48


class Linear(nn.Module):
    def __init__(self, weights: Tensor, bias: Tensor, scale: float = 1.0) -> None:
        super().__init__()
        self.weights, self.bias, self.scale = nn.Parameter(weights), nn.Parameter(bias), scale

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * (images.flatten(1) @ self.weights.T + self.bias)


class Quadratic(nn.Module):
    """GMMC with identity features: logits -scale * ||x - mu||^2, never positive."""

    def __init__(self, centers: Tensor, scale: float = 0.5) -> None:
        super().__init__()
        self.centers, self.scale = nn.Parameter(centers), scale

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def class_centers(self) -> Tensor:
        return self.centers

    def forward(self, images: Tensor) -> Tensor:
        return -self.scale * (self.features(images)[:, None] - self.centers).square().sum(dim=2)


class Convolutional(nn.Module):
    """Small network with the layers whose state an attack could damage."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(2),
        )
        self.head = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images).flatten(1))


class OfImages(nn.Module):
    """Any function from images to logits."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


@dataclass(frozen=True)
class Toy:
    model: nn.Module
    images: Tensor
    labels: Tensor


def random_images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def predicted(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(images).argmax(dim=1)


@pytest.fixture
def make_linear() -> Callable[..., Toy]:
    """Linear model with K classes; labels are its predictions except for every ninth image."""

    def make(classes: int = 10, count: int = 64, scale: float = 1.0, seed: int = 0) -> Toy:
        generator = torch.Generator().manual_seed(seed)
        weights = torch.randn(classes, PIXELS, generator=generator)
        images = random_images(count, seed + 1)
        bias = -(weights @ images.flatten(1).mean(dim=0))
        model = Linear(weights, bias, scale)
        labels = predicted(model, images)
        labels[::9] = (labels[::9] + 1) % classes
        return Toy(model, images, labels)

    return make


@pytest.fixture
def make_quadratic() -> Callable[..., Toy]:
    """Quadratic model whose images lie between their own center and others, all classified correctly."""

    def make(classes: int = 10, count: int = 32, scale: float = 0.5) -> Toy:
        generator = torch.Generator().manual_seed(5)
        centers = 0.2 + 0.6 * torch.rand(classes, PIXELS, generator=generator)
        labels = torch.arange(count) % classes
        noise = torch.randn(count, PIXELS, generator=generator)
        images = (centers[labels] + 0.05 * noise).clamp(0.05, 0.95).view(count, *SHAPE)
        return Toy(Quadratic(centers, scale), images, labels)

    return make


@pytest.fixture
def convolutional() -> Toy:
    torch.manual_seed(3)
    model = Convolutional()
    images = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    return Toy(model, images, predicted(model, images))


@pytest.fixture
def of_images() -> Callable[[Callable[[Tensor], Tensor]], nn.Module]:
    return OfImages


def rooms(images: Tensor, direction: Tensor, eps: float) -> np.ndarray:
    """How far each pixel can go in the sign of a direction within eps and the box."""
    flat = images.flatten(1)
    return torch.where(direction > 0, 1 - flat, flat).clamp_max(eps).double().numpy()


@pytest.fixture
def exact_linear_robustness() -> Callable[[Toy, float], np.ndarray]:
    """Robust flags under L_inf with the box: every rival's best corner, in closed form."""

    def exact(toy: Toy, eps: float) -> np.ndarray:
        model = toy.model
        assert isinstance(model, Linear)
        logits = model(toy.images).detach().double().numpy()
        labels = toy.labels.numpy()
        weights = model.weights.detach()
        robust = logits.argmax(axis=1) == labels
        for rival in range(logits.shape[1]):
            direction = weights[rival] - weights[toy.labels]
            gain = (direction.abs().double().numpy() * rooms(toy.images, direction, eps)).sum(axis=1)
            margin = (logits[:, rival] - logits[np.arange(len(labels)), labels]) / model.scale
            robust &= (margin + gain < 0) | (labels == rival)
        return robust

    return exact
