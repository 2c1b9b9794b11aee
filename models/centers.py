"""Max-Mahalanobis centers: class means of a common norm with the largest possible distances."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["check_published", "max_mahalanobis_centers"]


def max_mahalanobis_centers(num_classes: int, dim: int, scale: float = 10.0) -> Tensor:
    """The class means of Algorithm 2 of the GMMC paper (``GenerateOptMeans``, from the MMC paper).

    The C means are the corners of a regular simplex around the origin: norms S, inner products -S^2/(C-1),
    squared distances 2 S^2 C/(C-1), sum zero. All but the first C-1 coordinates are zero.

    The recursion of the paper fills column j with a_j on the diagonal and a common value b_j below it. This is its
    closed form, with j from 0:

        a_j = sqrt(C (C-1-j) / ((C-1) (C-j))),    b_j = -a_j / (C-1-j)    for j < C-1

    The last diagonal entry of the recursion is the root of a radicand that is zero up to rounding; it is NaN if the
    radicand is negative. In closed form this entry is exactly zero; it does not exist if C = d + 1.

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


def check_published(centers: Tensor, scale: float = 10.0) -> Mapping[str, float]:
    """Compare centers that were computed by the recursion of Algorithm 2 in float32 with the exact ones.

    The published code runs the recursion in float32. All entries agree with ours up to rounding, except for the last
    one on the diagonal, mu[C-1, C-1]. It is S times the root of 1 - ||mu||^2, which is zero up to a rounding error of
    1e-7: the entry is about .006 for 10 classes and .010 for 100 where ours is 0, and 0 or slightly more for other
    orders of summation. All other centers are 0 in this coordinate, so no inner product and no distance between centers
    changes by more than 1e-4, but training regresses features to this center. A model is therefore evaluated with the
    centers of its training.

    Accepted differences: S C eps (at least 1e-5 S) in an entry and 2 S sqrt(C eps) in the last diagonal one, with
    eps = 2^-23. Between 2 and 257 classes the largest observed differences were 2e-5 and .02.

    Args:
        centers: (C, d).
        scale: Expected norm S.

    Returns:
        ``max_difference`` (largest |difference| to ours), ``last_diagonal`` (mu[C-1, C-1]; 0 if d = C - 1),
        ``norm_min``, ``norm_max``, ``cosine_min`` and ``cosine_max`` (over pairs), ``cosine_exact`` = -1/(C-1).

    Raises:
        ValueError: The centers are not finite, or the differences exceed the accepted ones.
    """
    classes, dim = centers.shape
    given, exact = centers.double(), max_mahalanobis_centers(classes, dim, scale)
    if not bool(torch.isfinite(given).all()):
        raise ValueError("the centers in the checkpoint are not all finite")
    norms = given.norm(dim=1)
    cosines = ((given @ given.T) / (norms[:, None] * norms))[~torch.eye(classes, dtype=torch.bool)]
    difference = (given - exact).abs()
    facts = {
        "max_difference": float(difference.max()),
        "last_diagonal": float(given[-1, classes - 1]) if dim >= classes else 0.0,
        "norm_min": float(norms.min()),
        "norm_max": float(norms.max()),
        "cosine_min": float(cosines.min()),
        "cosine_max": float(cosines.max()),
        "cosine_exact": -1 / (classes - 1),
    }
    epsilon = torch.finfo(torch.float32).eps
    explained = torch.full_like(difference, scale * max(1e-5, classes * epsilon))
    if dim >= classes:
        explained[-1, classes - 1] = 2 * scale * math.sqrt(classes * epsilon)
    if bool((difference > explained).any()):
        row, column = divmod(int((difference - explained).argmax()), dim)
        raise ValueError(
            f"the centers in the checkpoint are not those of Algorithm 2 with S = {scale:g}: norms "
            f"{facts['norm_min']:.4g} to {facts['norm_max']:.4g}, pairwise cosines {facts['cosine_min']:.4g} to "
            f"{facts['cosine_max']:.4g} (exact {facts['cosine_exact']:.4g}); entry [{row}, {column}] differs by "
            f"{float(difference[row, column]):.2g}, of which float32 explains {float(explained[row, column]):.2g}"
        )
    return facts
