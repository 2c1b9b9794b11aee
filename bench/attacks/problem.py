"""What an attack gets and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .frozen import FrozenModel
from .judge import Judgement
from .threat import ThreatModel


@dataclass(frozen=True)
class Problem:
    """Images to attack: only those that the model classifies correctly.

    Attributes:
        model: The frozen model.
        images: (N, C, H, W) in [0, 1], on the CPU.
        labels: (N,) true classes, on the CPU.
        ids: (N,) identities of the images; noise depends on them.
        targets: (N,) classes to reach, or None if any wrong class will do.
        clean_logits: (N, K), on the CPU.
        threat: The threat model.
        seed: Seed of the attack.
        batch_size: Images per forward pass.
        device: Where the model is.
        judge: Verdicts on proposals (M, C, H, W) for the images of an index (M,).
    """

    model: FrozenModel
    images: Tensor
    labels: Tensor
    ids: NDArray[np.int64]
    targets: Tensor | None
    clean_logits: Tensor
    threat: ThreatModel
    seed: int
    batch_size: int
    device: torch.device
    judge: Callable[[Tensor, NDArray[np.int64]], Judgement]


@dataclass(frozen=True)
class GradientHealth:
    """Whether the loss gave the attack anything to follow; arrays of shape (N,), NaN where not attacked.

    The start is the first iterate of the first restart, the last the one before its last step.

    Attributes:
        start_gradient: Largest absolute input gradient of the loss at the start.
        last_gradient: The same at the last step.
        start_probability: softmax(z)_y in float32 at the start.
        last_probability: The same at the last step.
    """

    start_gradient: NDArray[np.float64]
    last_gradient: NDArray[np.float64]
    start_probability: NDArray[np.float64]
    last_probability: NDArray[np.float64]

    @staticmethod
    def unmeasured(size: int) -> GradientHealth:
        """All NaN."""
        return GradientHealth(*(np.full(size, np.nan) for _ in range(4)))

    @property
    def zero_gradient_share(self) -> float:
        """Share of attacked images with an exactly zero gradient, the larger of start and last step."""
        return _larger_share(self.start_gradient == 0, self.last_gradient == 0, self.start_gradient)

    @property
    def tiny_gradient_share(self) -> float:
        """Share of attacked images with all gradients below 1e-30, the larger of start and last step."""
        return _larger_share(self.start_gradient < 1e-30, self.last_gradient < 1e-30, self.start_gradient)

    @property
    def certain_share(self) -> float:
        """Share of attacked images whose p_y rounds to 1 in float32, the larger of start and last step."""
        return _larger_share(self.start_probability == 1, self.last_probability == 1, self.start_gradient)


def _larger_share(start: NDArray[np.bool_], last: NDArray[np.bool_], measured: NDArray[np.float64]) -> float:
    count = int((~np.isnan(measured)).sum())
    return max(int(start.sum()), int(last.sum())) / count if count else float("nan")


@dataclass(frozen=True)
class Proposals:
    """What an attack proposes, for the images of its problem.

    Attributes:
        images: (N, C, H, W) on the CPU; the clean image where the attack gave up.
        forwards: (N,) forward passes spent on each image.
        steps: Number of the final iterate.
        loss: (N,) loss of the attack at ``images``; NaN for libraries.
        first_wrong: (N, C, H, W) first wrong iterates, the final one where none was; None if not tracked.
        first_step: (N,) number of the first wrong iterate (0 is the start), -1 for never.
        has_final: Whether every image has been attacked up to its final iterate.
        health: Gradient health.
    """

    images: Tensor
    forwards: NDArray[np.float64]
    steps: int
    loss: NDArray[np.float64]
    first_wrong: Tensor | None
    first_step: NDArray[np.int64]
    has_final: bool
    health: GradientHealth


class Attack(Protocol):
    """A configured attack; its parameters have been checked, nothing has been computed."""

    @property
    def definition(self) -> str:
        """Every resolved parameter, for the caption of a number."""

    @property
    def own(self) -> bool:
        """Whether a proposal outside the threat model is a bug of ours."""

    @property
    def iterate(self) -> str:
        """``"final"`` or ``"any"``: which proposals decide."""

    def propose(self, problem: Problem) -> Proposals:
        """Attack the images of a problem."""
