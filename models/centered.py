"""Classification by the distance to fixed Max-Mahalanobis centers: what MMC and GMMC share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.family import Batch

from .centers import max_mahalanobis_centers
from .networks import BackboneClassifier

__all__ = ["CenterClassifier", "estimate_gamma2", "squared_distance"]


def squared_distance(features: Tensor, centers: Tensor) -> Tensor:
    """||phi - mu||^2 of each row: (N, d), (N, d) -> (N,)."""
    return (features - centers).square().sum(dim=1)


class CenterClassifier(BackboneClassifier):
    """Linear discriminant analysis with fixed means mu_y (Algorithm 2), a common spherical covariance and a uniform
    prior: logits are -``factor`` ||phi(x) - mu_y||^2, that is gamma^2 = 1 / (2 ``factor``).

    Only the read-out ``paper`` (GMMC paper, Eq. 11) uses the estimate of gamma^2 from the training set.

    Args:
        backbone: phi, with ``feature_dim``.
        num_classes: K.
        image_shape: (C, H, W).
        scale: Norm S of the centers.
        dim: Dimension d of the space of the centers; default: that of the backbone's features.

    Raises:
        ValueError: K > d + 1.
    """

    factor: ClassVar[float] = 0.5
    centers: Tensor
    gamma2: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        scale: float,
        dim: int | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, image_shape)
        if dim is not None:
            self.dim = dim
        self.scale = scale
        self.register_buffer("centers", max_mahalanobis_centers(num_classes, self.dim, scale).float())
        self.register_buffer("gamma2", torch.tensor(float("nan"), dtype=torch.float64))

    def classify(self, features: Tensor) -> Tensor:
        """-``factor`` ||phi - mu_y||^2: (N, d) -> (N, K), in the precision of the features."""
        # Not expanded: in float32 with centers of norm 10, the expanded square is too coarse for small distances.
        difference = features[:, None, :] - self.centers.to(features.dtype)[None]
        return -self.factor * difference.square().sum(dim=2)

    def readouts(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """``code``: the softmax of the logits; ``paper``: the estimated gamma^2 (Eq. 11); ``linear``: the posterior
        whose mean center the regression estimates, p_y = ((K - 1) <phi, mu_y> / S^2 + 1) / K, clipped and
        renormalised.
        """

        def code(features: Tensor) -> Tensor:
            return torch.log_softmax(self.classify(features), dim=1)

        def paper(features: Tensor) -> Tensor:
            return torch.log_softmax(self.classify(features) / (2 * self.factor * self.gamma2), dim=1)

        def linear(features: Tensor) -> Tensor:
            inner = features @ self.centers.to(features.dtype).T
            shares = ((self.num_classes - 1) * inner / self.scale**2 + 1) / self.num_classes
            # A floor above zero keeps log-probabilities finite; it changes no confidence by more than 1e-12.
            shares = shares.clamp(1e-12, 1)
            return torch.log(shares / shares.sum(dim=1, keepdim=True))

        return {"code": code, "paper": paper, "linear": linear}

    def class_centers(self) -> Tensor:
        """(K, d) centers mu: those of Algorithm 2, or those of the loaded weights."""
        return self.centers

    def check_loaded(self) -> None:
        """Check that the loaded centers have the configured norm S, which read-outs use.

        Raises:
            ValueError: A norm differs from S by more than 0.1 %.
        """
        norms = self.centers.norm(dim=1)
        low, high = float(norms.min()), float(norms.max())
        if not (abs(low - self.scale) <= 1e-3 * self.scale and abs(high - self.scale) <= 1e-3 * self.scale):
            raise ValueError(
                f"its class centers have norms {low:.4g} to {high:.4g}, the model has scale {self.scale:g}"
            )


def estimate_gamma2(model: CenterClassifier, clean: Callable[[], Iterable[Batch]]) -> None:
    """Set gamma^2 to the mean of ||phi(x_i) - mu_{y_i}||^2 / d over the clean training set (GMMC paper, Sec. 3.1)."""
    total = torch.zeros((), dtype=torch.float64, device=model.centers.device)
    items = 0
    with torch.no_grad():
        for batch in clean():
            distance = squared_distance(model.features(batch.images), model.centers[batch.labels])
            total += distance.double().sum()
            items += len(batch.labels)
    model.gamma2.fill_(float(total) / items / model.centers.shape[1])
