"""Distances and scores of sets of images in the outputs of a measuring network, with comparable controls.

Samples, real images and noise are measured in draws of one size, because the bias of a Frechet distance is about 1/n.
Draws of samples keep the class shares of the samples. Draws of real images have the class shares of the training
images, so that random class shares of a small test set do not make real images look worse than samples.
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
        features: (n, d) features.
        log_probs: (n, K) log-probabilities.
        classes: (n,) class of each image, by which draws are stratified.
        fixed: Whether the numbers of images per class are given rather than random; if they are random, the standard
            error includes their variation.
        shares: Share of a draw by class; None: as in the set.
    """

    features: NDArray[np.float64]
    log_probs: NDArray[np.float64]
    classes: NDArray[np.int64]
    fixed: bool
    shares: Mapping[int, float] | None = None


@dataclass(frozen=True)
class Measured:
    """A distance or score: the mean over the draws with its interval, or the reason why there is none."""

    value: float | None
    interval: Interval | None
    reason: str | None = None


@dataclass(frozen=True)
class Scale:
    """Numbers of repetitions in a measurement.

    Attributes:
        draws: Draws from a set that is larger than a draw.
        repeats: Divisions into groups for the jackknife.
        splits: Splits of the score.
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
    """Held-out real images with the class shares of the training images, and the largest possible size of a draw."""
    shares = {int(c): float((training_labels == c).mean()) for c in np.unique(training_labels)}
    available = {int(c): int((labels == c).sum()) for c in np.unique(labels)}
    if not shares.keys() & available.keys():
        shares = {c: float(count) for c, count in available.items()}
    return ImageSet(features, log_probs, labels, True, shares), proportional_size(shares, available)


def measure_sets(
    sets: Mapping[str, ImageSet], reference: GaussianStats, size: int, seed: int, scale: Scale
) -> dict[tuple[str, str], Measured]:
    """The distance and the score of every set, by ``"distance"`` or ``"score"`` and name of the set.

    Args:
        sets: Sets by name, at least ``size`` images each.
        reference: Statistics of the features of the training images.
        size: Images in a draw.
        seed: Seed of draws and groups.
        scale: Numbers of repetitions.
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
        # The mean over the draws has a variance of its own.
        of_draws = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
        half = NORMAL_QUANTILE * math.sqrt(error**2 + of_draws)
        interval = symmetric(float(values.mean()), half, 0.95, f"jackknife over {GROUPS} groups", within)
    return Measured(float(values.mean()), interval)


def _distance(images: ImageSet, reference: GaussianStats, rows: NDArray[np.int64]) -> float:
    return frechet_distance(reference, GaussianStats.from_features(images.features[rows]))


def _score(images: ImageSet, splits: int, rows: NDArray[np.int64]) -> float:
    return inception_score(images.log_probs[rows], splits=min(splits, len(rows)))[0]
