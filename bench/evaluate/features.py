"""Features and class probabilities of images under a measuring network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.family import Classifier

__all__ = ["judge_outputs"]

BATCH = 500


@torch.no_grad()
def judge_outputs(judge: Classifier, images: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features (n, d) and log-probabilities (n, K), in float64.

    Args:
        judge: The judge in eval mode.
        images: (n, C, H, W) in [0, 1].
    """
    device = next(judge.parameters()).device
    features: list[NDArray[Any]] = []
    log_probs: list[NDArray[Any]] = []
    for start in range(0, len(images), BATCH):
        phi = judge.features(images[start : start + BATCH].to(device))
        features.append(phi.double().cpu().numpy())
        log_probs.append(torch.log_softmax(judge.classify(phi).double(), dim=1).cpu().numpy())
    return np.concatenate(features), np.concatenate(log_probs)
