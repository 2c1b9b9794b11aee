"""What every classifier has from its features and its head."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.family import Classifier


class Line(Classifier):
    """Logits (x, -x) of the mean of the image."""

    passes = 0

    def features(self, images: Tensor) -> Tensor:
        self.passes += 1
        return images.flatten(1).mean(dim=1, keepdim=True)

    def classify(self, features: Tensor) -> Tensor:
        return torch.cat([features, -features], dim=1)


class Tempered(Line):
    """Logits that do not follow from the head alone."""

    def logits(self, images: Tensor) -> Tensor:
        return super().logits(images) / 7


class Refined(Line):
    def forward(self, images: Tensor) -> Tensor:
        return 1 - self.logits(images)


def test_logits_and_features_are_those_of_the_model_in_one_pass_if_that_is_right() -> None:
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for kind, passes in ((Line, 1), (Tempered, 2), (Refined, 2)):
        model = kind(2, (1, 4, 4))
        logits, features = model.logits_and_features(images)
        assert model.passes == passes
        assert torch.equal(logits, model(images))
        assert torch.equal(features, model.features(images))
