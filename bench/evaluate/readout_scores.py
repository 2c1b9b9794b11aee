"""The scores of one read-out on the test items: calibration errors, proper scores, selective prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics import calibration, calibration_intervals, if_calibrated
from bench.metrics.intervals import IfCalibrated, Interval, bootstrap_mean
from bench.metrics.proper_scores import brier_decomposition, brier_values, nll_values
from bench.metrics.reliability import Binning, Edges, reliability
from bench.metrics.selective import aurc_interval, risk_coverage

__all__ = ["Bins", "Measure", "ReadOutScores", "score"]

_POINTS = 200
"""Points of a risk-coverage curve that are kept for a figure."""


@dataclass(frozen=True)
class Bins:
    """The bins of a calibration error; fields as in `bench.metrics.reliability.reliability`."""

    bins: int
    binning: Binning = "width"
    edges: Edges = "right"

    def options(self) -> dict[str, Any]:
        """As keyword arguments."""
        return {"bins": self.bins, "binning": self.binning, "edges": self.edges}


@dataclass(frozen=True)
class Measure:
    """A value with what is known of its uncertainty.

    Attributes:
        value: The value; infinite where there is no finite one.
        interval: Its interval over items; None if unknown.
        if_calibrated: For calibration errors: what a calibrated model would score; None where items have no output.
    """

    value: float
    interval: Interval | None = None
    if_calibrated: IfCalibrated | None = None


@dataclass(frozen=True)
class ReadOutScores:
    """The scores of a read-out. An item without finite probabilities counts as certain of a wrong class.

    Attributes:
        n: Number of test items.
        absent: Number of test items without finite probabilities.
        impossible: Number of items whose class has probability 0.
        measures: By metric; empty if no item has finite probabilities.
        items: By name (``confidence``, ``correct``, ``nll``, ``brier``) the values of each item, (n,); empty then.
        curve: Bins of the items with finite probabilities, as plain JSON values.
        selective: Points of the risk-coverage curve, as plain JSON values.
        decomposition: Parts of the Brier score of the items with finite probabilities.
    """

    n: int
    absent: int
    impossible: int = 0
    measures: Mapping[str, Measure] = field(default_factory=dict)
    items: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    curve: Mapping[str, list[Any]] = field(default_factory=dict)
    selective: Mapping[str, list[float]] = field(default_factory=dict)
    decomposition: Mapping[str, float] = field(default_factory=dict)


def score(
    log_probs: NDArray[np.float64],
    finite: NDArray[np.bool_],
    labels: NDArray[np.int64],
    errors: Mapping[str, Bins],
    seed: int,
) -> ReadOutScores:
    """All scores of a read-out.

    An item without finite probabilities has a gap of 1 in a bin of its own, 2 in the Brier score, and makes the NLL
    infinite, so no model gains from items without an output.

    Args:
        log_probs: (n, K); -inf is a probability of 0.
        finite: (n,) whether the logits are finite.
        labels: (n,) true classes.
        errors: By metric, the bins of an ECE of the top label; ``"ece"`` is among them.
        seed: Seed of simulations and bootstraps.
    """
    present = finite & ~np.isnan(log_probs).any(axis=1) & ~np.isposinf(log_probs).any(axis=1)
    n, absent = len(labels), int((~present).sum())
    standard = errors["ece"]
    if absent == n:
        none = [None] * standard.bins
        return ReadOutScores(n, n, curve={"count": [0] * standard.bins, "confidence": none, "accuracy": none})
    kept, y = log_probs[present], labels[present]
    probs = np.exp(kept)
    confidence, correct = np.ones(n), np.zeros(n, dtype=np.bool_)
    confidence[present], correct[present] = np.minimum(probs.max(axis=1), 1.0), kept.argmax(axis=1) == y
    nlls, briers = np.full(n, np.inf), np.full(n, 2.0)
    nlls[present], briers[present] = nll_values(kept, y), brier_values(probs, y)
    own, right, share = confidence[present], correct[present], absent / n

    measures: dict[str, Measure] = {}
    for metric, bins in errors.items():
        measured = _error(own, right, bins, seed)
        measures[metric] = _with_absent(measured, share, 1.0)
    options = standard.options()
    debiased = calibration.debiased_ece(own, right, **options)
    interval = calibration_intervals.ece_interval(own, right, seed=seed, **options)
    # The debiased value estimates the same number, so it has the same interval, extended to it where it lies below.
    interval = replace(interval, low=min(interval.low, debiased))
    measures["debiased-ece"] = _with_absent(Measure(debiased, interval), share, 1.0)
    measures["classwise-ece"] = _with_absent(_classwise(probs, y, standard, seed), share, 2 / probs.shape[1])
    measures["mce"] = Measure(1.0 if absent else calibration.mce(own, right, **options))
    measures["ks"] = Measure(
        calibration.ks_error(confidence, correct),
        calibration_intervals.ks_interval(confidence, correct, seed=seed),
        None if absent else if_calibrated.ks_if_calibrated(confidence, correct, seed=seed),
    )
    curve = risk_coverage(confidence, correct)
    measures["aurc"] = Measure(curve.aurc, aurc_interval(confidence, correct, seed=seed))
    measures["nll"] = Measure(float(nlls.mean()), _of_mean(nlls, seed))
    measures["brier"] = Measure(float(briers.mean()), _of_mean(briers, seed, (0.0, 2.0)))

    impossible = int(np.isneginf(kept[np.arange(len(y)), y]).sum())
    diagram = reliability(own, right, **options)
    thinned = np.unique(np.linspace(0, curve.coverage.size - 1, _POINTS).round().astype(int))
    return ReadOutScores(
        n,
        absent,
        impossible,
        measures,
        {"confidence": confidence, "correct": correct, "nll": nlls, "brier": briers},
        {
            "count": [int(count) for count in diagram.count],
            "confidence": [None if np.isnan(v) else float(v) for v in diagram.mean_confidence],
            "accuracy": [None if np.isnan(v) else float(v) for v in diagram.accuracy],
        },
        {name: getattr(curve, name)[thinned].tolist() for name in ("threshold", "coverage", "risk")},
        vars(brier_decomposition(probs, y, bins=standard.bins)),
    )


def _error(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: Bins, seed: int) -> Measure:
    options = bins.options()
    return Measure(
        calibration.ece(confidence, correct, **options),
        calibration_intervals.ece_interval(confidence, correct, seed=seed, **options),
        if_calibrated.ece_if_calibrated(confidence, correct, seed=seed, **options),
    )


def _classwise(probs: NDArray[np.float64], labels: NDArray[np.int64], bins: Bins, seed: int) -> Measure:
    options = bins.options()
    return Measure(
        calibration.classwise_ece(probs, labels, **options),
        calibration_intervals.classwise_ece_interval(probs, labels, seed=seed, **options),
        if_calibrated.classwise_ece_if_calibrated(probs, labels, seed=seed, **options),
    )


def _with_absent(measure: Measure, share: float, worst: float) -> Measure:
    """The measure of all items, of which a share has no output and the worst value."""
    if not share:
        return measure
    interval = measure.interval

    def mapped(value: float) -> float:
        return (1 - share) * value + share * worst

    if interval is not None:
        interval = replace(interval, low=mapped(interval.low), high=mapped(interval.high))
    return Measure(mapped(measure.value), interval)


def _of_mean(values: NDArray[np.float64], seed: int, within: tuple[float, float] = (0.0, np.inf)) -> Interval | None:
    if values.size < 2 or np.isinf(values).any():
        return None
    return bootstrap_mean(values, seed=seed, within=within)
