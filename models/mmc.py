"""MMC: the Max-Mahalanobis classifier of Pang et al. (ICLR 2020), trained by center regression."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.family import Batch, Family, Iteration, Step

from .centered import CenterClassifier, estimate_gamma2, squared_distance
from .configs import MMCConfig

__all__ = ["MMC", "MMCClassifier"]


class MMCClassifier(CenterClassifier):
    """A backbone, a linear layer z = W phi(x) + b without activation, and fixed centers mu_y of norm C_MM.

    Logits are -||z - mu_y||^2, without the half of GMMC, as in the authors' code: gamma^2 = 1/2.

    Args:
        backbone: phi, with ``feature_dim``.
        num_classes: K.
        image_shape: (C, H, W).
        scale: C_MM.
        features: Dimension of z, at least K - 1.

    Raises:
        ValueError: K > ``features`` + 1.
    """

    factor: ClassVar[float] = 1.0

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        scale: float,
        features: int,
    ) -> None:
        super().__init__(backbone, num_classes, image_shape, scale, features)
        entering = backbone.feature_dim
        assert isinstance(entering, int)
        self.linear = nn.Linear(entering, features)
        # The variance of he_normal in Keras, 2 / fan-in (there of a truncated normal), and its zero bias.
        nn.init.kaiming_normal_(self.linear.weight, nonlinearity="relu")
        nn.init.zeros_(self.linear.bias)

    def features(self, images: Tensor) -> Tensor:
        """z: (N, C, H, W) in [0, 1] -> (N, d)."""
        z: Tensor = self.linear(super().features(images))
        return z


class MMC(Family[MMCConfig]):
    """Center regression: the mean of ||z - mu_y||^2, minus the logit of the true class.

    As for GMMC (Dis), whose Eq. 5 is this loss up to its factor, log p(x) is the log-sum-exp of the logits. Unlike
    cross-entropy, the loss fixes their level: a function of x added to all of them would change it.
    """

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> MMCClassifier:
        """A classifier with a fresh linear layer."""
        return MMCClassifier(backbone, num_classes, image_shape, self.config.scale, self.config.features)

    def training_step(
        self,
        model: MMCClassifier,
        batches: Mapping[str, Batch],
        state: Any,  # noqa: ARG002 - there is none
        iteration: Iteration,  # noqa: ARG002 - the loss does not depend on it
    ) -> Step:
        """One batch of the labelled stream."""
        batch = batches["train"]
        return Step(squared_distance(model.features(batch.images), model.centers[batch.labels]).mean())

    def after_training(self, model: MMCClassifier, clean: Callable[[], Iterable[Batch]]) -> None:
        """Estimate gamma^2 on the clean training set, for the read-out ``paper``."""
        estimate_gamma2(model, clean)
