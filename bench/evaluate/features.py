"""Networks in whose features sets of images are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.family import Classifier

__all__ = ["FeatureNetwork", "JudgeNetwork"]

BATCH = 500


class FeatureNetwork(Protocol):
    """A network that gives features and class probabilities of images."""

    @property
    def name(self) -> str:
        """Name in records."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of its weights."""
        ...

    @property
    def batch_size(self) -> int:
        """Images in one pass."""
        ...

    def features(self, images: Tensor, progress: Callable[[Mapping[str, Any]], None]) -> NDArray[np.float32]:
        """(n, C, H, W) in [0, 1] -> (n, d)."""
        ...

    def log_probs(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) features -> (n, K) log-probabilities."""
        ...


class JudgeNetwork:
    """The judge as a `FeatureNetwork`.

    Args:
        judge: The judge in eval mode.
        digest: SHA-256 of its weights.
    """

    name = "judge-cnn"
    batch_size = BATCH

    def __init__(self, judge: Classifier, digest: str) -> None:
        self._judge = judge
        self.digest = digest
        self._device = next(judge.parameters()).device

    @torch.no_grad()
    def features(self, images: Tensor, progress: Callable[[Mapping[str, Any]], None]) -> NDArray[np.float32]:
        """(n, C, H, W) in [0, 1] -> (n, 128)."""
        found = []
        for start in range(0, len(images), BATCH):
            phi = self._judge.features(images[start : start + BATCH].to(self._device))
            found.append(phi.float().cpu().numpy())
            progress({"done": start, "total": len(images)})
        return np.concatenate(found)

    @torch.no_grad()
    def log_probs(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, 128) features -> (n, K) log-probabilities."""
        found = []
        for start in range(0, len(features), BATCH):
            logits = self._judge.classify(torch.from_numpy(features[start : start + BATCH]).to(self._device))
            found.append(torch.log_softmax(logits.double(), dim=1).cpu().numpy())
        return np.concatenate(found)
