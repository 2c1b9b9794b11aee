"""Calibration: ECE, NLL and Brier score of each read-out, and at a temperature fitted on validation data."""

from __future__ import annotations

from collections.abc import Mapping
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


class Calibration(Evaluation):
    """Expected calibration error and proper scores, in float64 from stored predictions."""

    name = "calibration"
    version = 1
    summary = "ECE, NLL and Brier score for each read-out and at a fitted temperature."
    source = "GMMC paper, Figs. 4 and 5, Table 9; Guo et al. 2017"
    Config = CalibrationConfig

    def label(self, config: CalibrationConfig) -> str:
        """With the number of bins."""
        return f"ECE, {config.bins} bins"

    def needs(self, config: CalibrationConfig) -> tuple[Need, ...]:  # noqa: ARG002
        """Test predictions, and validation predictions to fit the temperature on."""
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
            )
        )
        return tuple(columns)

    def evaluate(self, config: CalibrationConfig, inputs: Inputs) -> Outcome:
        """From stored log-probabilities and logits."""
        import numpy as np
        from scipy.special import log_softmax

        from bench.metrics.calibration import fit_temperature

        test, validation = inputs.outputs("test"), inputs.outputs("validation")
        labels = test["labels"]
        fitted = fit_temperature(validation["logits"], validation["labels"])
        named = {name.removeprefix("readout/"): values for name, values in test.items() if name.startswith("readout/")}
        default = next(iter(named.values()))
        scaled = log_softmax(test["logits"].astype(np.float64) / fitted.value, axis=1)
        numbers, details = [], {}
        for argument, log_probs in {"": default, "fitted": scaled, **named}.items():
            values, curve = _scores(log_probs, labels, config.bins)
            details[argument or "default"] = curve
            numbers += [
                Number(
                    metric=metric,
                    argument=argument,
                    value=value,
                    n=len(labels),
                    definition=_definition(metric, argument, config),
                )
                for metric, value in values.items()
            ]
        flags: Mapping[str, str] = {"T": "at the bound of the search"} if fitted.at_bound else {}
        numbers.append(
            Number(
                metric="temperature",
                value=fitted.value,
                n=fitted.n,
                definition=_TEMPERATURE,
                flags=flags,
            )
        )
        return Outcome(numbers, details={"reliability": details})


_TEMPERATURE = "temperature[minimises NLL on validation data]"


def _definition(metric: str, argument: str, config: CalibrationConfig) -> str:
    which = _ARGUMENTS.get(argument) or _READOUTS.get(argument, f"read-out {argument}")
    return _METRICS[metric][2].format(bins=config.bins, which=which)


def _scores(
    log_probs: NDArray[np.float64], labels: NDArray[np.int64], bins: int
) -> tuple[dict[str, float], dict[str, list[float | None]]]:
    import numpy as np

    from bench.metrics.calibration import brier, nll, reliability

    probs = np.exp(log_probs)
    confidence = probs.max(axis=1)
    curve = reliability(confidence, log_probs.argmax(axis=1) == labels, bins=bins)
    values = {"ece": curve.ece, "nll": nll(log_probs, labels), "brier": brier(probs, labels)}
    return values, {
        "count": [int(count) for count in curve.count],
        "confidence": [None if np.isnan(v) else float(v) for v in curve.mean_confidence],
        "accuracy": [None if np.isnan(v) else float(v) for v in curve.accuracy],
    }
