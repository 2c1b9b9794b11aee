"""What every classifier has from its features and its head."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.attacks.frozen import frozen
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


def test_logits_and_features_come_from_one_pass_where_the_logits_follow_from_the_features() -> None:
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model = Line(2, (1, 4, 4))
    both = model.logits_and_features(images)
    assert both is not None
    assert model.passes == 1
    assert torch.equal(both[0], model(images))
    assert torch.equal(both[1], model.features(images))


@pytest.mark.parametrize("kind", [Tempered, Refined])
def test_logits_of_its_own_take_a_pass_of_their_own(kind: type[Line]) -> None:
    """An attack then counts two passes, and climbs on the logits that the model really has."""
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model = kind(2, (1, 4, 4))
    assert model.logits_and_features(images) is None
    with frozen(model) as view:
        logits, features, passes = view.logits_and_features(images)
    assert (passes, model.passes) == (2, 2)
    assert torch.equal(logits, model(images))
    assert torch.equal(features, model.features(images))
