"""The softmax classifier, and the linear head that JEM shares with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from bench.family import Batch, Family, Iteration, Step

from .configs import SoftmaxConfig
from .networks import BackboneClassifier

__all__ = ["LinearClassifier", "Softmax"]


class LinearClassifier(BackboneClassifier):
    """A backbone and a linear head with bias: logits f(x), p(y|x) = softmax f(x), log p(x) = logsumexp f(x) + c."""

    def __init__(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(backbone, num_classes, image_shape)
        self.head = nn.Linear(self.dim, num_classes)

    def classify(self, features: Tensor) -> Tensor:
        """Logits (N, K) from features (N, d), in the precision of the features."""
        weight, bias = self.head.weight.to(features.dtype), self.head.bias.to(features.dtype)
        return functional.linear(features, weight, bias)


class Softmax(Family[SoftmaxConfig]):
    """Trains a linear classifier by cross-entropy on the labelled stream."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> LinearClassifier:
        """A linear classifier on ``backbone`` with PyTorch's default initialisation."""
        return LinearClassifier(backbone, num_classes, image_shape)

    def training_step(
        self,
        model: LinearClassifier,
        batches: Mapping[str, Batch],
        state: Any,  # noqa: ARG002 - there is none
        iteration: Iteration,  # noqa: ARG002 - the loss does not depend on it
    ) -> Step:
        """The mean cross-entropy of a batch."""
        batch = batches["train"]
        return Step(functional.cross_entropy(model.logits(batch.images), batch.labels))
