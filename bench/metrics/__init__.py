"""Metrics: pure functions on arrays, in float64, that know no model, no store and no suite.

Conventions: results are Python floats or small frozen dataclasses. Fractions lie in [0, 1], never in percent. The
name of an argument says whether it takes logits, log-probabilities or probabilities; values are never guessed from.
NaN in the input is an error that gives their number. docs/metrics.md defines every metric.

The names of ``__all__`` can be imported from here; each is loaded when it is first used, because SciPy is slow to load.

>>> from bench.metrics import ece
>>> ece([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0])
0.0
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.metrics.calibration import classwise_ece, debiased_ece, ece, ks_error, mce
    from bench.metrics.calibration_intervals import ece_interval
    from bench.metrics.difference import Difference, accuracy_difference, auroc_difference, mean_difference
    from bench.metrics.frechet import GaussianStats, frechet_distance, frechet_infinity
    from bench.metrics.if_calibrated import ece_if_calibrated
    from bench.metrics.inception import inception_score
    from bench.metrics.intervals import Interval, bootstrap_mean, median_interval, student_t, wilson
    from bench.metrics.kernel import kernel_distance
    from bench.metrics.neighbours import nearest_neighbours
    from bench.metrics.ood import auroc, average_precision, fpr_at_tpr
    from bench.metrics.ood_inference import auroc_interval, delong
    from bench.metrics.paired import holm, mcnemar, permutation_mean, sign_flip
    from bench.metrics.precision_recall import prdc
    from bench.metrics.proper_scores import brier, brier_decomposition, nll
    from bench.metrics.selective import risk_coverage
    from bench.metrics.temperature import Temperature, fit_temperature

_MODULES = {
    "calibration": ("classwise_ece", "debiased_ece", "ece", "ks_error", "mce"),
    "calibration_intervals": ("ece_interval",),
    "difference": ("Difference", "accuracy_difference", "auroc_difference", "mean_difference"),
    "frechet": ("GaussianStats", "frechet_distance", "frechet_infinity"),
    "if_calibrated": ("ece_if_calibrated",),
    "inception": ("inception_score",),
    "intervals": ("Interval", "bootstrap_mean", "median_interval", "student_t", "wilson"),
    "kernel": ("kernel_distance",),
    "neighbours": ("nearest_neighbours",),
    "ood": ("auroc", "average_precision", "fpr_at_tpr"),
    "ood_inference": ("auroc_interval", "delong"),
    "paired": ("holm", "mcnemar", "permutation_mean", "sign_flip"),
    "precision_recall": ("prdc",),
    "proper_scores": ("brier", "brier_decomposition", "nll"),
    "selective": ("risk_coverage",),
    "temperature": ("Temperature", "fit_temperature"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Difference",
    "GaussianStats",
    "Interval",
    "Temperature",
    "accuracy_difference",
    "auroc",
    "auroc_difference",
    "auroc_interval",
    "average_precision",
    "bootstrap_mean",
    "brier",
    "brier_decomposition",
    "classwise_ece",
    "debiased_ece",
    "delong",
    "ece",
    "ece_if_calibrated",
    "ece_interval",
    "fit_temperature",
    "fpr_at_tpr",
    "frechet_distance",
    "frechet_infinity",
    "holm",
    "inception_score",
    "kernel_distance",
    "ks_error",
    "mce",
    "mcnemar",
    "mean_difference",
    "median_interval",
    "nearest_neighbours",
    "nll",
    "permutation_mean",
    "prdc",
    "risk_coverage",
    "sign_flip",
    "student_t",
    "wilson",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
