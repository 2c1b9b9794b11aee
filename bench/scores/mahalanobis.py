"""The Mahalanobis score of features: squared distance to the nearest class mean under a covariance of all classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.scores.arrays import FloatArray, finite_rows
from bench.scores.spec import Arrays, Score, UndefinedScoreError

__all__ = ["ClassGaussians", "Mahalanobis", "fit_gaussians", "mahalanobis"]


@dataclass(frozen=True)
class ClassGaussians:
    """Gaussians of the classes with one covariance.

    Attributes:
        means: Class means, shape (C, d), of the classes that have items.
        whitening: Matrix A, shape (d, r), with A A^T the pseudo-inverse of the covariance, whose rank is r.
    """

    means: FloatArray
    whitening: FloatArray


def fit_gaussians(features: npt.ArrayLike, labels: npt.ArrayLike) -> ClassGaussians:
    """Class means and the covariance within classes, (1/n) sum_i (f_i - mu_{y_i}) (f_i - mu_{y_i})^T (Lee et al. 2018,
    eq. 1).

    The inverse is a pseudo-inverse by `numpy.linalg.eigh` in float64: eigenvalues up to d times the machine epsilon
    times the largest count as 0. Directions in which no training item varies within its class, such as dead units or
    those beyond n - C dimensions, therefore count for nothing.

    Args:
        features: Shape (n, d), finite.
        labels: Classes, integers, shape (n,).

    Raises:
        UndefinedScoreError: If no feature varies within a class, as for one item per class.
        ValueError: If a shape is wrong or a value is not finite.

    >>> fit_gaussians([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0, 0, 0, 0]).means
    array([[0., 0.]])
    """
    array, classes = finite_rows("features", features), np.asarray(labels)
    if classes.shape != (len(array),):
        raise ValueError(f"labels must have shape ({len(array)},), got {classes.shape}")
    present, member = np.unique(classes, return_inverse=True)
    means = np.array([array[member == index].mean(axis=0) for index in range(len(present))]).reshape(-1, array.shape[1])
    within = array - means[member]
    values, vectors = np.linalg.eigh(within.T @ within / max(len(array), 1))
    kept = values > max(array.shape[1] * np.finfo(np.float64).eps * values.max(), np.finfo(np.float64).tiny)
    if not kept.any():
        raise UndefinedScoreError("no feature varies within a class of the training items")
    return ClassGaussians(means, vectors[:, kept] / np.sqrt(values[kept]))


def mahalanobis(features: npt.ArrayLike, gaussians: ClassGaussians) -> npt.NDArray[np.float64]:
    """-min_y (f - mu_y)^T Sigma^+ (f - mu_y), the Mahalanobis score of Lee et al. (2018, eq. 2).

    The differences are whitened and then squared: a difference of squares would lose the digits of items near a mean.

    Args:
        features: Shape (n, d), finite.
        gaussians: From `fit_gaussians`.

    Returns:
        Scores, shape (n,), <= 0, higher = in-distribution.

    Raises:
        ValueError: If the shape is not (n, d), or a value is not finite.

    >>> gaussians = fit_gaussians([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0, 0, 0, 0])
    >>> mahalanobis([[3.0, 0.0]], gaussians).round(9)  # the covariance is I / 2
    array([-18.])
    """
    array = finite_rows("features", features)
    if array.shape[1] != gaussians.means.shape[1]:
        raise ValueError(f"features must have {gaussians.means.shape[1]} columns, got {array.shape[1]}")
    nearest = np.full(len(array), np.inf)
    for mean in gaussians.means:
        nearest = np.minimum(nearest, np.square((array - mean) @ gaussians.whitening).sum(axis=1))
    return -nearest


class Mahalanobis(Score):
    """Distance of the penultimate features to the nearest class mean of the training items, under their covariance
    within classes. One layer, without the input preprocessing and the ensemble of layers of the paper, which are tuned
    on out-of-distribution data.
    """

    name: ClassVar[str] = "mahalanobis"
    label: ClassVar[str] = "Mahalanobis"
    summary: ClassVar[str] = "Squared Mahalanobis distance of the features to the nearest class mean."
    source: ClassVar[str] = "Lee et al. 2018, arXiv:1807.03888, eq. 1 and 2"
    reads: ClassVar[tuple[str, ...]] = ("features",)
    fitted: ClassVar[bool] = True

    @property
    def definition(self) -> str:
        """The formula."""
        return (
            "-min_y (f - mu_y)' S^+ (f - mu_y), f the penultimate features, mu_y class means and S the covariance "
            "within classes of the training items, pseudo-inverse by eigh"
        )

    def fit(self, train: Arrays) -> ClassGaussians:
        """Means and covariance of the training features."""
        if not len(train["labels"]):
            raise UndefinedScoreError("no training item has finite features")
        return fit_gaussians(train["features"], train["labels"])

    def score(self, outputs: Arrays, fit: Any) -> npt.NDArray[np.float64]:
        """Negative squared distances."""
        return mahalanobis(outputs["features"], fit)
