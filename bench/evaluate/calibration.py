"""Calibration: ECE, NLL and Brier score of each read-out, and at a temperature fitted on validation data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Need, Number, Outcome
from bench.evaluate.inputs import Inputs
from bench.spec import FAMILIES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Calibration", "CalibrationConfig"]


class CalibrationConfig(EvaluationConfig):
    """Parameters of calibration."""

    bins: PositiveInt = Field(20, description="Equal-width bins of the confidence, (lo, hi]")


_ARGUMENTS = {
    "": "probabilities as the model gives them: T = 1, and gamma^2 = 1 for GMMC",
    "fitted": "softmax(logits / T), T minimising NLL on validation data",
}
_READOUTS = {
    "native": "softmax of the logits",
    "code": "gamma^2 = 1 (released code)",
    "paper": "gamma^2 estimated on the training set (paper, Eq. 11)",
    "linear": "linear simplex read-out ((K-1)<phi, mu_y>/S^2 + 1)/K",
}
_METRICS = {
    "ece": ("ECE", "fraction", "ece[w{bins}, (lo,hi], {which}]"),
    "nll": ("NLL", "1", "nll[nats, {which}]"),
    "brier": ("Brier", "1", "brier[sum over classes, {which}]"),
}

_WITHIN = {"nll": (0.0, math.inf), "brier": (0.0, 2.0)}


class Calibration(Evaluation):
    """Expected calibration error and proper scores, in float64 from stored predictions."""

    name = "calibration"
    version = 2
    summary = "ECE, NLL and Brier score for each read-out and at a fitted temperature."
    source = "GMMC paper, Figs. 4 and 5, Table 9; Guo et al. 2017"
    Config = CalibrationConfig

    def label(self, config: CalibrationConfig) -> str:
        """The name with the number of bins."""
        return f"ECE, {config.bins} bins"

    def needs(self, config: CalibrationConfig) -> tuple[Need, ...]:  # noqa: ARG002
        """Test predictions, and validation predictions to fit the temperature."""
        return (Need("test", "forward"), Need("validation", "forward"))

    def columns(self, config: CalibrationConfig) -> tuple[Column, ...]:
        """Each metric for the default, the fitted and every named read-out, and the temperature."""
        readouts = sorted({name for spec in FAMILIES.values() for name in spec.readouts})
        columns = []
        for metric, (label, unit, _) in _METRICS.items():
            for argument in (*_ARGUMENTS, *readouts):
                shown = {"": "T = 1", "fitted": "T fitted"}.get(argument, argument)
                columns.append(
                    Column(
                        metric=metric,
                        argument=argument,
                        label=shown,
                        group=label,
                        unit=unit,
                        direction="down",
                        definition=_definition(metric, argument, config),
                        primary=metric == "ece",
                        within=_WITHIN.get(metric),
                        readout=argument if argument in readouts else None,
                    )
                )
        columns.append(
            Column(
                metric="temperature",
                label="T",
                unit="1",
                direction=None,
                definition=_TEMPERATURE,
                within=(0.0, math.inf),
            )
        )
        return tuple(columns)

    def evaluate(self, config: CalibrationConfig, inputs: Inputs) -> Outcome:
        """Compute the scores from stored log-probabilities and logits.

        Without a temperature from validation data there are no numbers at a fitted temperature. `_scores` gives the
        rule for items without finite probabilities.
        """
        import numpy as np
        from scipy.special import log_softmax

        from bench.metrics.calibration import fit_temperature
        from bench.metrics.predictions import absence, finite_items

        test, validation = inputs.outputs("test"), inputs.outputs("validation")
        labels, finite = test["labels"], finite_items(test["logits"])
        usable = finite_items(validation["logits"])
        unfit = absence(int((~usable).sum()), len(usable), "validation items have no finite logits")
        fitted = fit_temperature(validation["logits"][usable], validation["labels"][usable]) if usable.any() else None
        no_fit = unfit if fitted is None else fitted.no_minimum
        named = {name.removeprefix("readout/"): values for name, values in test.items() if name.startswith("readout/")}
        read = {"": next(iter(named.values())), **named}
        if fitted is not None and no_fit is None:
            scaled = np.full(test["logits"].shape, np.nan)
            scaled[finite] = log_softmax(test["logits"][finite].astype(np.float64) / fitted.value, axis=1)
            read["fitted"] = scaled
        numbers = [_unfitted(metric, config, len(labels), str(no_fit)) for metric in _METRICS if "fitted" not in read]
        details = {}
        for argument, log_probs in read.items():
            scores = _scores(log_probs, finite, labels, config.bins)
            details[argument or "default"] = scores.curve
            numbers += [_number(metric, argument, config, scores) for metric in _METRICS]
        numbers.append(
            Number(
                metric="temperature",
                value=fitted.value if fitted is not None and no_fit is None else None,
                n=len(usable) if fitted is None else fitted.n,
                definition=_TEMPERATURE,
                reason=no_fit,
                not_finite=int((~usable).sum()),
                note=None if no_fit or usable.all() else f"{unfit} and take no part in the fit of T",
            )
        )
        return Outcome(numbers, details={"reliability": details})


@dataclass(frozen=True)
class _Scores:
    """Scores of a read-out on the test items.

    Attributes:
        values: Values by metric; infinite where there is no finite value.
        curve: Bins of the items with finite probabilities, as plain JSON values.
        n: Number of test items.
        absent: Number of test items without finite probabilities.
        impossible: Number of items whose class has probability 0.
    """

    values: dict[str, float]
    curve: dict[str, list[float | None]]
    n: int
    absent: int
    impossible: int


_TEMPERATURE = "temperature[minimises NLL on validation data]"


def _definition(metric: str, argument: str, config: CalibrationConfig) -> str:
    which = _ARGUMENTS.get(argument) or _READOUTS.get(argument, f"read-out {argument}")
    return _METRICS[metric][2].format(bins=config.bins, which=which)


def _number(metric: str, argument: str, config: CalibrationConfig, scores: _Scores) -> Number:
    """A metric of a read-out, with a reason or note on items without finite probabilities."""
    from bench.metrics.predictions import absence

    said = absence(scores.absent, scores.n, "test items have no finite probabilities")
    reason = note = None
    if scores.absent == scores.n:
        reason = said
    elif metric == "nll" and scores.absent:
        reason = f"infinite: {said}"
    elif metric == "nll" and scores.impossible:
        reason = f"infinite: {scores.impossible:,} of {scores.n:,} test items have probability 0 of their class"
    elif scores.absent:
        note = f"{said} and count as wrong with certainty"
    return Number(
        metric=metric,
        argument=argument,
        value=scores.values[metric] if reason is None else None,
        n=scores.n,
        definition=_definition(metric, argument, config),
        reason=reason,
        not_finite=scores.absent,
        note=note,
    )


def _unfitted(metric: str, config: CalibrationConfig, n: int, reason: str) -> Number:
    definition = _definition(metric, "fitted", config)
    return Number(metric=metric, argument="fitted", value=None, n=n, definition=definition, reason=reason)


def _scores(log_probs: NDArray[np.float64], finite: NDArray[np.bool_], labels: NDArray[np.int64], bins: int) -> _Scores:
    """ECE, NLL and Brier score of all items.

    An item without finite probabilities counts as a wrong prediction with certainty: it has a gap of 1 in the ECE, 2 in
    the Brier score, and makes the NLL infinite. So no model gains from items without an output.

    Args:
        log_probs: (n, K); -inf is a probability of 0.
        finite: (n,) whether the logits are finite.
        labels: (n,) true classes.
        bins: Number of bins of the ECE.
    """
    import numpy as np

    from bench.metrics.calibration import brier, nll, reliability

    present = finite & ~np.isnan(log_probs).any(axis=1) & ~np.isposinf(log_probs).any(axis=1)
    n, absent = len(labels), int((~present).sum())
    if absent == n:
        return _Scores({}, {"count": [0] * bins, "confidence": [None] * bins, "accuracy": [None] * bins}, n, n, 0)
    kept, y = log_probs[present], labels[present]
    probs = np.exp(kept)
    curve = reliability(probs.max(axis=1), kept.argmax(axis=1) == y, bins=bins)
    share = absent / n
    values = {
        "ece": (1 - share) * curve.ece + share,
        "nll": np.inf if absent else nll(kept, y),
        "brier": (1 - share) * brier(probs, y) + 2 * share,
    }
    points: dict[str, list[float | None]] = {
        "count": [int(count) for count in curve.count],
        "confidence": [None if np.isnan(v) else float(v) for v in curve.mean_confidence],
        "accuracy": [None if np.isnan(v) else float(v) for v in curve.accuracy],
    }
    return _Scores(values, points, n, absent, int(np.isneginf(kept[np.arange(len(y)), y]).sum()))
