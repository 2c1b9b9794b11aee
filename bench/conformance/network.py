"""The network and the family of ``bench.conformance.small``."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from bench.conformance.small import FEATURES
from bench.family import Batch, Classifier, Family, Iteration, Step
from bench.spec import TrainingConfig

__all__ = ["Linear", "LinearHead", "backbone"]


def backbone(name: str, in_channels: int) -> nn.Module:  # noqa: ARG001 - there is one
    """(N, C, H, W) -> (N, 16): a convolution, a pool and a dense layer, without normalisation."""
    network = nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, FEATURES),
        nn.SiLU(),
    )
    network.feature_dim = FEATURES  # type: ignore[assignment]
    return network


class LinearHead(Classifier):
    """A backbone with a linear head."""

    def __init__(self, body: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(num_classes, image_shape)
        self.backbone = body
        self.head = nn.Linear(FEATURES, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, 16)."""
        features: Tensor = self.backbone(2 * images - 1)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """(N, 16) -> (N, K), in the type of the features."""
        return F.linear(features, self.head.weight.to(features.dtype), self.head.bias.to(features.dtype))


class Linear(Family[TrainingConfig]):
    """Trains the head and the backbone by cross-entropy."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> LinearHead:
        """A head with PyTorch's initial weights."""
        return LinearHead(backbone, num_classes, image_shape)

    def training_step(self, model: LinearHead, batches: Mapping[str, Batch], state: None, iteration: Iteration) -> Step:
        """The mean cross-entropy of a batch."""
        del state, iteration
        batch = batches["train"]
        return Step(F.cross_entropy(model.logits(batch.images), batch.labels))
