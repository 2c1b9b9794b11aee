"""The implementation, which only workers import."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.family import Batch, Classifier, Family, Iteration, Step
from smoothed_softmax.spec import SmoothedConfig

__all__ = ["LinearHead", "SmoothedSoftmax"]


class LinearHead(Classifier):
    """A backbone phi with a linear head: logits W phi(x) + b.

    Args:
        backbone: A module with ``feature_dim``, d.
        num_classes: K.
        image_shape: (C, H, W).
    """

    def __init__(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(num_classes, image_shape)
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.feature_dim), num_classes)  # type: ignore[arg-type]

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, d); any scaling happens here."""
        features: Tensor = self.backbone(2 * images - 1)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """(N, d) -> (N, K), in the type of the features: read-outs ask with float64."""
        return F.linear(features, self.head.weight.to(features.dtype), self.head.bias.to(features.dtype))


class SmoothedSoftmax(Family[SmoothedConfig]):
    """Cross-entropy to the target (1 - smoothing) y + smoothing / K."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> LinearHead:
        """A head with PyTorch's initial weights on the backbone."""
        return LinearHead(backbone, num_classes, image_shape)

    def training_step(self, model: LinearHead, batches: Mapping[str, Batch], state: None, iteration: Iteration) -> Step:
        """The mean loss of a batch, and its accuracy for the training history."""
        del state, iteration
        batch = batches["train"]
        logits = model.logits(batch.images)
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.config.smoothing)
        with torch.no_grad():
            accuracy = (logits.argmax(dim=1) == batch.labels).float().mean()
        return Step(loss, {"batch_accuracy": accuracy})
