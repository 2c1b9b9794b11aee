"""Distances, scores and coverage of sets of images in the outputs of a feature network, with comparable controls.

Samples, real images and noise are measured in draws of one size, because the bias of a Frechet distance is about 1/n.
Draws of samples keep the class shares of the samples. Draws of real images have the class shares of the training
images, so that random class shares of a small test set do not make real images look worse than samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bench.metrics.frechet import GaussianStats, frechet_distance, frechet_infinity
from bench.metrics.inception_score import inception_score
from bench.metrics.intervals import Interval, student_t, symmetric, wilson
from bench.metrics.kernel import kernel_distances
from bench.metrics.prdc import prdc
from bench.metrics.predictions import absence, finite_items
from bench.metrics.resampling import (
    error_of_leave_outs,
    leave_outs,
    proportional_size,
    stratified_draws,
)

__all__ = ["ImageSet", "Measured", "Reference", "Scale", "measure_set", "real_images"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The outputs of a measuring network on a set of images.

    Attributes:
        features: (n, d) features, float32 as the network gives them.
        log_probs: (n, K) log-probabilities.
        classes: (n,) class of each image, by which draws are stratified.
        fixed: Whether the numbers of images per class are given rather than random; if they are random, the standard
            error includes their variation.
        shares: Share of a draw by class; None: as in the set.
    """

    features: NDArray[np.float32]
    log_probs: NDArray[np.float64]
    classes: NDArray[np.int64]
    fixed: bool
    shares: Mapping[int, float] | None = None


@dataclass(frozen=True)
class Measured:
    """A number with its interval, or the reason why there is none.

    Attributes:
        value: The number.
        interval: Its interval, if one is known.
        reason: Why there is no value.
        n: Number of images that it was measured on; None: as many as in a draw.
    """

    value: float | None
    interval: Interval | None
    reason: str | None = None
    n: int | None = None


@dataclass(frozen=True, eq=False)
class Reference:
    """Real images that sets are measured against.

    Attributes:
        stats: Statistics of their features.
        features: (m, d) their features; None if only statistics are known, from a file.
        labels: (m,) their classes.
        kernel_mean: Mean kernel value over pairs of their features.
    """

    stats: GaussianStats
    features: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    kernel_mean: float | None = None


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
    features: NDArray[np.float32],
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


def measure_set(
    images: ImageSet, reference: Reference, what: Sequence[str], size: int, seed: int, scale: Scale, neighbour: int
) -> dict[str, Measured]:
    """Numbers of one set, by what they are.

    ``distance``, ``score`` and ``kernel`` are means over draws, with an interval from a grouped jackknife for the value
    expected at this number of images. ``precision``, ``recall``, ``density`` and ``coverage`` are of the first draw
    against equally many reference images. The intervals of precision (Wilson) and density (t over samples) hold for
    the given reference images. Recall and coverage have none: errors from a jackknife are up to 1.8 times too large.
    ``infinity`` is of all images and has none either.

    Args:
        images: At least ``size`` images.
        reference: The real images.
        what: The numbers.
        size: Images in a draw.
        seed: Seed of draws, groups and subsets.
        scale: Numbers of repetitions.
        neighbour: k of the balls of precision, recall, density and coverage.
    """
    if reason := _unmeasurable(images, size):
        return dict.fromkeys(what, Measured(None, None, reason))
    draws = stratified_draws(images.classes, size, scale.draws, seed, images.shares)
    found = {}
    if "distance" in what:

        def distance(rows: NDArray[np.int64]) -> float:
            return frechet_distance(reference.stats, GaussianStats.from_features(images.features[rows]))

        found["distance"] = _drawn(images, _each(distance), draws, seed, scale, (0.0, math.inf))
    if "score" in what:

        def score(rows: NDArray[np.int64]) -> float:
            return inception_score(images.log_probs[rows], splits=min(scale.splits, len(rows)))[0]

        found["score"] = _drawn(images, _each(score), draws, seed, scale, (1.0, math.inf))
    if "infinity" in what:
        few = Measured(None, None, "the extrapolation needs at least 20 images")
        found["infinity"] = few if len(images.features) < 20 else _extrapolated(images, reference, seed)
    rest = [name for name in what if name not in found]
    if reference.features is None:
        absent = "the reference is a file of mean and covariance, without features"
        return found | dict.fromkeys(rest, Measured(None, None, absent))
    features = reference.features
    if "kernel" in rest:

        def kernel(sets: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
            return kernel_distances(images.features, features, sets, reference_mean=reference.kernel_mean)

        found["kernel"] = _drawn(images, kernel, draws, seed, scale, (-math.inf, math.inf))
    if any(name in rest for name in ("precision", "recall", "density", "coverage")):
        assert reference.labels is not None
        found |= _balls(images.features[draws[0]], features, reference.labels, seed, neighbour)
    return found


def _unmeasurable(images: ImageSet, size: int) -> str | None:
    absent = int((~(finite_items(images.features) & finite_items(images.log_probs))).sum())
    if absent:
        return absence(absent, len(images.features), "images have no finite features")
    return "a distribution needs at least 2 images" if size < 2 else None


_Batch = Callable[[Sequence[NDArray[np.int64]]], NDArray[np.float64]]
"""A statistic of several sets of rows."""


def _each(statistic: Callable[[NDArray[np.int64]], float]) -> _Batch:
    return lambda sets: np.array([statistic(rows) for rows in sets])


def _drawn(
    images: ImageSet,
    statistic: _Batch,
    draws: Sequence[NDArray[np.int64]],
    seed: int,
    scale: Scale,
    within: tuple[float, float],
) -> Measured:
    """The mean over draws, with the standard error of a grouped jackknife over all images.

    The quantile is Student's, because the error is estimated from few groups: with the normal one 91 to 94 % of the
    intervals cover where the samples differ from the reference (``tests/evaluate/test_coverage_of_distances.py``).
    """
    strata = images.classes if images.fixed else np.zeros_like(images.classes)
    divisions = leave_outs(strata, seed, repeats=scale.repeats)
    flat = [rows for division in divisions for rows in division]
    every = statistic([*draws, *flat])
    values, rest = every[: len(draws)], every[len(draws) :]
    mean, interval = float(values.mean()), None
    if flat:
        error = error_of_leave_outs(rest.reshape(len(divisions), -1))
        # The mean over the draws has a variance of its own.
        of_draws = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
        quantile = float(stdtrit(len(divisions[0]) - 1, 0.975))
        half = quantile * math.sqrt(error**2 + of_draws)
        kind = f"jackknife over {len(divisions[0])} groups, at n = {len(draws[0])}"
        interval = symmetric(mean, half, 0.95, kind, within)
    return Measured(mean, interval)


def _extrapolated(images: ImageSet, reference: Reference, seed: int) -> Measured:
    value = frechet_infinity(reference.stats, images.features, seed=seed)
    return Measured(value, None, n=len(images.features))


def _balls(
    samples: NDArray[np.float32],
    real: NDArray[np.float32],
    labels: NDArray[np.int64],
    seed: int,
    neighbour: int,
) -> dict[str, Measured]:
    """Precision, recall, density and coverage at equal numbers of samples and real images."""
    size = min(len(samples), len(real))
    if size <= neighbour:
        reason = f"balls to the neighbour number {neighbour} need more than {neighbour} images"
        return dict.fromkeys(("precision", "recall", "density", "coverage"), Measured(None, None, reason))
    (rows,) = stratified_draws(labels, size, 1, seed)
    found = prdc(real[rows], samples[:size], k=neighbour)
    inside = int((found.balls > 0).sum())
    density = student_t(found.balls / neighbour, within=(0.0, math.inf))
    return {
        "precision": Measured(found.precision, _given_real(wilson(inside, size)), n=size),
        "recall": Measured(found.recall, None, n=size),
        "density": Measured(found.density, _given_real(density), n=size),
        "coverage": Measured(found.coverage, None, n=size),
    }


def _given_real(interval: Interval | None) -> Interval | None:
    """The interval, whose kind says that other real images would give another number."""
    return None if interval is None else replace(interval, kind=f"{interval.kind}, for these real images")
