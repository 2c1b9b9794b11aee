"""Max-Mahalanobis centers: class means as far from each other as a common norm allows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["max_mahalanobis_centers"]


def max_mahalanobis_centers(num_classes: int, dim: int, scale: float = 10.0) -> Tensor:
    """The class means of Algorithm 2 of the GMMC paper (``GenerateOptMeans``, from the MMC paper).

    The C means are the corners of a regular simplex around the origin: norms S, inner products -S^2/(C-1),
    squared distances 2 S^2 C/(C-1), sum zero. All but the first C-1 coordinates are zero.

    The recursion of the paper fills column j with a_j on the diagonal and one common value b_j below it. Here
    it is solved in closed form, with j from 0:

        a_j = sqrt(C (C-1-j) / ((C-1) (C-j))),    b_j = -a_j / (C-1-j)    for j < C-1

    The last diagonal entry of the recursion is the root of a radicand that is zero but for rounding, and not
    a number if that comes out negative. In this form it is exactly zero, and no entry at all when C = d + 1.

    Args:
        num_classes: C, at least 2.
        dim: Dimension d of the features, at least C - 1.
        scale: Norm S of each mean.

    Returns:
        (C, d) float64.

    Raises:
        ValueError: C < 2, C > d + 1, or S not positive and finite.
    """
    if num_classes < 2:
        raise ValueError(f"max-Mahalanobis centers need at least 2 classes, got {num_classes}")
    if num_classes > dim + 1:
        raise ValueError(
            f"{num_classes} max-Mahalanobis centers need at least {num_classes - 1} feature dimensions "
            f"(C <= d + 1), got {dim}: use a wider backbone"
        )
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive and finite, got {scale}")
    rest = torch.arange(num_classes - 1, 0, -1, dtype=torch.float64)  # C-1-j for j = 0 .. C-2
    diagonal = torch.sqrt(num_classes * rest / ((num_classes - 1) * (rest + 1)))
    below = -diagonal / rest
    simplex = torch.tril(below.expand(num_classes, -1), diagonal=-1)
    simplex.diagonal().copy_(diagonal)
    centers = torch.zeros(num_classes, dim, dtype=torch.float64)
    centers[:, : num_classes - 1] = scale * simplex
    return centers
