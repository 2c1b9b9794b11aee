"""Checks of the model that every attack's number shares: does it give logits, always the same, without gradients?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import Flag
    from bench.family import Classifier

__all__ = ["output_flags"]

LOOKED_AT = 64
"""Images that the checks look at."""


def output_flags(model: Classifier, images: NDArray[np.float32], device: str) -> list[Flag]:
    """LOGITS, RANDOM and DYNAMIC, from a few forward passes of the first images.

    Args:
        model: On ``device``.
        images: (N, C, H, W) in [0, 1], N >= 1.
        device: Torch device.
    """
    import torch

    from bench.attacks import inspect_outputs
    from bench.attacks.diagnostics import dynamic_flag, logits_flag, random_flag

    traits = inspect_outputs(model, torch.from_numpy(images[:LOOKED_AT]).to(device))
    return [
        logits_flag(traits.probabilities, traits.not_finite_share),
        random_flag(traits.random, traits.batch_dependent),
        dynamic_flag(traits.dynamic),
    ]
