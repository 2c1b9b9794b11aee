"""Simulated coverage of the intervals of distances and scores of sets.

The quantity is the value expected at this number of samples, against one fixed reference: the bias of order 1/n belongs
to it. Samples are Gaussian in five dimensions; the reference holds 2,000 vectors of a standard Gaussian.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import log_softmax

from bench.evaluate.image_sets import ImageSet, Reference, Scale, measure_set
from bench.metrics.frechet import GaussianStats, frechet_distance
from bench.metrics.kernel import CUBIC

D, CLASSES = 5, 10
CASES = {"equal": (0.0, 1.0), "shifted": (0.5, 1.0), "narrow": (0.0, 0.7)}


def simulated(what, n, shift, scale, trials):
    """Share of intervals that contain the mean over trials, and the mean of half their widths over 1.96 standard
    deviations of the values: above 1 they are wider than needed.
    """
    rows = np.random.default_rng(7).normal(size=(2000, D)).astype(np.float32)
    labels = np.zeros(2000, dtype=np.int64)
    reference = Reference(GaussianStats.from_features(rows), rows, labels, CUBIC.own_mean(rows))
    weights = 2 * np.random.default_rng(3).normal(size=(D, CLASSES))
    found = []
    for trial in range(trials):
        samples = np.random.default_rng(1000 + trial).normal(size=(n, D)) * scale + shift
        images = ImageSet(
            samples.astype(np.float32), log_softmax(samples @ weights, axis=1), np.zeros(n, dtype=np.int64), fixed=True
        )
        # One seed, as all models of a suite have: precision and density are of the same real images.
        one = measure_set(images, reference, [what], n, 0, Scale(1, 1, 1), 5)[what]
        found.append((one.value, one.interval.low, one.interval.high))
    values, low, high = np.array(found).T
    mean = values.mean()
    return ((low <= mean) & (mean <= high)).mean(), ((high - low) / 2).mean() / (1.96 * values.std(ddof=1))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("n", [100, 400, 2000])
@pytest.mark.parametrize("what", ["distance", "score", "kernel", "precision", "density"])
def test_intervals_cover(what, n, case):
    """95 % within the error of the simulation. Of equal distributions a distance is a quadratic form with no linear
    part, for which the jackknife takes up to twice the variance: it may cover more there, but never less.
    """
    trials = {100: 500, 400: 400, 2000: 200}[n]
    if what == "kernel" and n == 2000:
        trials = 60
    share, width = simulated(what, n, *CASES[case], trials)
    print(f"| {what} | {case} | {n} | {trials} | {share:.3f} | {width:.2f} |")
    slack = 3 * math.sqrt(0.95 * 0.05 / trials)
    assert share > 0.93 - slack / 2
    assert share < (1.0 if case == "equal" or what in ("kernel", "precision") else 0.97) + slack / 2


def test_a_percentile_bootstrap_of_the_distance_misses_the_estimate_itself():
    """Why there is none: resampling adds the bias of order 1/n once more (here in 20 dimensions, n = 200)."""
    generator = np.random.default_rng(0)
    reference = GaussianStats(None, np.zeros(20), np.eye(20))

    def distance(rows):
        return frechet_distance(reference, GaussianStats.from_features(rows))

    samples = generator.normal(size=(200, 20))
    resampled = [distance(samples[generator.integers(200, size=200)]) for _ in range(200)]
    assert np.quantile(resampled, 0.025) > distance(samples)
    images = ImageSet(samples.astype(np.float32), np.zeros((200, 1)), np.zeros(200, dtype=np.int64), fixed=True)
    measured = measure_set(images, Reference(reference), ["distance"], 200, 0, Scale(1, 1, 1), 5)["distance"]
    assert measured.interval is not None
    assert measured.interval.low < measured.value < measured.interval.high
    assert measured.interval.kind.startswith("jackknife over 20 groups, at n = 200")
