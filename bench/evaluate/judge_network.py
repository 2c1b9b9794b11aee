"""The judge's network and training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from bench.evaluate.judge import JudgeConfig
from bench.family import Batch, Classifier, Family, Iteration, Step

__all__ = ["JudgeBackbone", "JudgeClassifier", "JudgeFamily", "build_backbone"]


class JudgeBackbone(nn.Module):
    """(N, C, H, W) in [0, 1] -> (N, 128): few features, so that a thousand images give a covariance of full rank."""

    feature_dim = 128

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, self.feature_dim),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features after the last activation."""
        features: Tensor = self.layers(images)
        return features


class JudgeClassifier(Classifier):
    """The network with a linear head."""

    def __init__(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(num_classes, image_shape)
        self.backbone = backbone
        self.head = nn.Linear(JudgeBackbone.feature_dim, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """(N, 128) features."""
        features: Tensor = self.backbone(images)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """(N, K) logits."""
        logits: Tensor = self.head(features)
        return logits


class JudgeFamily(Family[JudgeConfig]):
    """Trains the judge with cross-entropy."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> JudgeClassifier:
        """A judge with initial weights."""
        return JudgeClassifier(backbone, num_classes, image_shape)

    def training_step(
        self,
        model: JudgeClassifier,
        batches: Mapping[str, Batch],
        state: Any,  # noqa: ARG002 - there is none
        iteration: Iteration,  # noqa: ARG002 - the loss does not depend on it
    ) -> Step:
        """The mean cross-entropy of a batch."""
        batch = batches["train"]
        return Step(functional.cross_entropy(model.logits(batch.images), batch.labels))


def build_backbone(name: str, in_channels: int) -> JudgeBackbone:  # noqa: ARG001 - there is one
    """The judge's backbone."""
    return JudgeBackbone(in_channels)
