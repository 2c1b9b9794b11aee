"""Checks stored adversarial images and clean predictions against a model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .frozen import frozen
from .judge import Judge
from .threat import Norm, ThreatModel, parse_eps


@dataclass(frozen=True)
class Checked:
    """Verdicts on M claimed adversarial images, all of shape (M,).

    Attributes:
        confirmed: Whether the clean image is classified correctly, and the adversarial is within the threat model and
            misclassified (or classified as its target).
        rounding: Not confirmed, but within the threat model, and short of a success by no more than rounding.
        norms: Norm of the perturbation, in units of the pixel range.
    """

    confirmed: NDArray[np.bool_]
    rounding: NDArray[np.bool_]
    norms: NDArray[np.float64]


def check(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    adversarials: Tensor,
    *,
    norm: Norm,
    eps: str | float | None,
    targets: Tensor | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 128,
    rounding: float = 1e-4,
) -> Checked:
    """Judge stored adversarial images by the rules of `bench.attacks.run`.

    Args:
        model: Module from images to logits; frozen during the check.
        images: (M, C, H, W) clean images in [0, 1].
        labels: (M,) true classes.
        adversarials: (M, C, H, W).
        norm: Norm of the threat model.
        eps: Budget; None for no budget.
        targets: (M,) target classes, or None.
        device: Where the model is.
        batch_size: Images per forward pass.
        rounding: Share of the largest logit that counts as rounding.
    """
    threat = ThreatModel(norm, math.inf if eps is None else parse_eps(eps))
    if not len(images):
        nothing = np.zeros(0, dtype=np.bool_)
        return Checked(nothing, nothing, np.zeros(0))
    with frozen(model) as view:
        judge = Judge(
            view, images, labels, targets, threat, device=torch.device(device), batch_size=batch_size, own=False,
            kept=True,
        )  # fmt: skip
        verdict = judge.judge(adversarials)
        clean = judge.clean_logits
    norms = verdict.linf if norm == "linf" else verdict.l2
    scale = _scale(clean, rounding)
    close = verdict.reach > -scale
    nearly_clean = judge.clean_correct | (np.abs(judge.clean_margin()) <= scale)
    return Checked(verdict.success, ~verdict.success & verdict.valid & close & nearly_clean, norms)


def clean_disagreements(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    claimed: NDArray[np.bool_],
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 128,
    rounding: float = 1e-4,
) -> int:
    """How many clean images are classified differently from a claim, by more than rounding.

    Args:
        model: Module from images to logits; frozen during the check.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) true classes.
        claimed: (N,) whether the image is claimed to be classified correctly.
        device: Where the model is.
        batch_size: Images per forward pass.
        rounding: Share of the largest logit that counts as rounding.
    """
    threat = ThreatModel("linf", math.inf)
    with frozen(model) as view:
        judge = Judge(view, images, labels, None, threat, device=torch.device(device), batch_size=batch_size, own=False)
    close = np.abs(judge.clean_margin()) <= _scale(judge.clean_logits, rounding)
    return int(((judge.clean_correct != claimed) & ~close).sum())


def _scale(logits: Tensor, rounding: float) -> NDArray[np.float64]:
    scale: NDArray[np.float64] = logits.abs().amax(dim=1).double().numpy() * rounding
    return scale
