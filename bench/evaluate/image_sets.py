"""Distances and scores of sets of images in the outputs of a measuring network, with controls that are comparable.

Samples, real images and noise are measured in draws of one size, because a Frechet distance is biased by about 1/n. The
draws of samples have the shares of their own classes; those of real images the shares of the training images, so that
the chance by which a small test set has its classes does not make real images look worse than samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.frechet import GaussianStats, frechet_distance
from bench.metrics.inception_score import inception_score
from bench.metrics.intervals import Interval, symmetric
from bench.metrics.predictions import absence, finite_items
from bench.metrics.resampling import GROUPS, jackknife_error, proportional_size, stratified_draws

__all__ = ["ImageSet", "Measured", "Scale", "measure_sets", "real_images"]

NORMAL_QUANTILE = 1.959963984540054


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The outputs of a measuring network on a set of images.

    Attributes:
        features: (n, d).
        log_probs: (n, K).
        classes: (n,) class of each image, by which draws are stratified.
        fixed: Whether the numbers of the classes are given rather than left to chance; the standard error of a set
            whose classes fell by chance includes that chance.
        shares: By class, its share of a draw; None: as in the set.
    """

    features: NDArray[np.float64]
    log_probs: NDArray[np.float64]
    classes: NDArray[np.int64]
    fixed: bool
    shares: Mapping[int, float] | None = None


@dataclass(frozen=True)
class Measured:
    """A distance or score: the mean over the draws with its interval, or a reason why there is none."""

    value: float | None
    interval: Interval | None
    reason: str | None = None


@dataclass(frozen=True)
class Scale:
    """How finely sets are measured.

    Attributes:
        draws: Draws of a set that is larger than a draw.
        repeats: Divisions into groups of the jackknife.
        splits: Of the score.
    """

    draws: int
    repeats: int
    splits: int


def real_images(
    features: NDArray[np.float64],
    log_probs: NDArray[np.float64],
    labels: NDArray[np.int64],
    training_labels: NDArray[np.int64],
) -> tuple[ImageSet, int]:
    """Held-out real images in the class shares of the training images, and the largest size of a draw of them."""
    shares = {int(c): float((training_labels == c).mean()) for c in np.unique(training_labels)}
    available = {int(c): int((labels == c).sum()) for c in np.unique(labels)}
    if not shares.keys() & available.keys():
        shares = {c: float(count) for c, count in available.items()}
    return ImageSet(features, log_probs, labels, True, shares), proportional_size(shares, available)


def measure_sets(
    sets: Mapping[str, ImageSet], reference: GaussianStats, size: int, seed: int, scale: Scale
) -> dict[tuple[str, str], Measured]:
    """By ``"distance"`` or ``"score"`` and name of the set: both of every set.

    Args:
        sets: By name, at least ``size`` images each.
        reference: Of the features of the training images.
        size: Images of a draw.
        seed: Of draws and groups.
        scale: How finely.
    """
    found = {}
    for name, images in sets.items():
        measures: dict[str, tuple[Callable[[NDArray[np.int64]], float], float]] = {
            "distance": (lambda rows, s=images: _distance(s, reference, rows), 0.0),  # type: ignore[misc]
            "score": (lambda rows, s=images: _score(s, scale.splits, rows), 1.0),  # type: ignore[misc]
        }
        for what, (statistic, least) in measures.items():
            found[what, name] = _measured(images, statistic, size, seed, scale, (least, math.inf))
    return found


def _measured(
    images: ImageSet,
    statistic: Callable[[NDArray[np.int64]], float],
    size: int,
    seed: int,
    scale: Scale,
    within: tuple[float, float],
) -> Measured:
    absent = int((~(finite_items(images.features) & finite_items(images.log_probs))).sum())
    if absent:
        return Measured(None, None, absence(absent, len(images.features), "images have no finite features"))
    if size < 2:
        return Measured(None, None, "a distribution needs at least 2 images")
    draws = stratified_draws(images.classes, size, scale.draws, seed, images.shares)
    values = np.array([statistic(rows) for rows in draws])
    strata = images.classes if images.fixed else np.zeros_like(images.classes)
    error = jackknife_error(statistic, strata, seed, repeats=scale.repeats)
    interval = None
    if error is not None:
        # The mean over the draws is itself known to so much only.
        of_draws = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
        half = NORMAL_QUANTILE * math.sqrt(error**2 + of_draws)
        interval = symmetric(float(values.mean()), half, 0.95, f"jackknife over {GROUPS} groups", within)
    return Measured(float(values.mean()), interval)


def _distance(images: ImageSet, reference: GaussianStats, rows: NDArray[np.int64]) -> float:
    return frechet_distance(reference, GaussianStats.from_features(images.features[rows]))


def _score(images: ImageSet, splits: int, rows: NDArray[np.int64]) -> float:
    return inception_score(images.log_probs[rows], splits=min(splits, len(rows)))[0]
