"""Calibration errors and proper scores of each read-out, and at a temperature fitted on validation data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Need, Number, Outcome, Test
from bench.evaluate.inputs import Inputs
from bench.spec import FAMILIES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.evaluate.readout_scores import ReadOutScores
    from bench.metrics.reliability import Binning, Edges

__all__ = ["Calibration", "CalibrationConfig"]


class CalibrationConfig(EvaluationConfig):
    """Parameters of calibration."""

    bins: PositiveInt = Field(20, description="Bins of the confidence; of equal width unless the column says otherwise")


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
STANDARD_BINS = (20, 15)
"""The usual numbers of bins: the paper's and that of most libraries."""


@dataclass(frozen=True)
class _Metric:
    """What columns of a metric have in common.

    Attributes:
        group: Heading above the columns.
        definition: With ``{which}`` for the read-out.
        unit: As in ``Column``.
        within: As in ``Column``.
        test: As in ``Column``.
        items: Name of the array of a read-out whose mean is the number, if there is one.
        bins: Number of bins, binning and edges of an ECE of the top label; else None.
    """

    group: str
    definition: str
    unit: str = "fraction"
    within: tuple[float, float] | None = None
    test: Test | None = None
    items: str | None = None
    bins: tuple[int, Binning, Edges] | None = None


def _metrics(bins: int) -> dict[str, _Metric]:
    """The metrics by name. An ECE with one of the usual numbers of bins has its own column unless it is the first."""
    found = {"ece": _ece(bins), "ece-left": _ece(bins, edges="left")}
    for other in STANDARD_BINS:
        if other != bins:
            found |= {f"ece-{other}": _ece(other), f"ece-{other}-left": _ece(other, edges="left")}
    width = f"w{bins}, (lo,hi]"
    return {
        **found,
        "ece-mass": _ece(bins, binning="mass"),
        "classwise-ece": _Metric("Classwise ECE", f"classwise ece[{width}, mean over classes, {{which}}]"),
        "debiased-ece": _Metric("Debiased ECE", f"debiased ece[{width}, normal accuracy of a bin, {{which}}]"),
        "mce": _Metric("MCE", f"mce[{width}, {{which}}]"),
        "ks": _Metric("KS error", "ks calibration error[no bins, ties cumulated together, {which}]"),
        "nll": _Metric("NLL", "nll[nats, {which}]", "1", (0.0, math.inf), "permutation", "nll"),
        "brier": _Metric("Brier", "brier[sum over classes, {which}]", "1", (0.0, 2.0), "permutation", "brier"),
        "aurc": _Metric("AURC", "aurc[max probability, ties as a group, {which}]", "1", (0.0, 1.0)),
    }


def _ece(bins: int, binning: Binning = "width", edges: Edges = "right") -> _Metric:
    kind = {"width": "w", "mass": "m"}[binning]
    interval = {"right": "(lo,hi]", "left": "[lo,hi)"}[edges]
    group = "ECE" if binning == "width" else "Equal-mass ECE"
    return _Metric(group, f"ece[{kind}{bins}, {interval}, {{which}}]", bins=(bins, binning, edges))


class Calibration(Evaluation):
    """Calibration errors, proper scores and selective prediction, in float64 from stored predictions."""

    name = "calibration"
    version = 3
    summary = "Calibration errors, NLL, Brier score and AURC for each read-out and at a fitted temperature."
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
        columns = [
            Column(
                metric=name,
                argument=argument,
                label={"": "T = 1", "fitted": "T fitted"}.get(argument, argument),
                group=_group(name, metric, config),
                unit=metric.unit,
                direction="down",
                definition=_definition(metric, argument),
                primary=name == "ece",
                test=metric.test,
                within=metric.within,
                readout=argument if argument in readouts else None,
            )
            for name, metric in _metrics(config.bins).items()
            for argument in (*_ARGUMENTS, *readouts)
        ]
        temperature = Column(
            metric="temperature", label="T", unit="1", direction=None, definition=_TEMPERATURE, within=(0.0, math.inf)
        )
        return (*columns, temperature)

    def evaluate(self, config: CalibrationConfig, inputs: Inputs) -> Outcome:
        """Compute the scores from stored log-probabilities and logits.

        Without a temperature from validation data there are no numbers at a fitted temperature.
        `bench.evaluate.readout_scores.score` gives the rule for items without finite probabilities.
        """
        import numpy as np
        from scipy.special import log_softmax

        from bench.evaluate.readout_scores import Bins, score
        from bench.metrics.predictions import absence, finite_items
        from bench.metrics.temperature import fit_temperature, temperature_interval

        test, validation = inputs.outputs("test"), inputs.outputs("validation")
        labels, finite = test["labels"], finite_items(test["logits"])
        usable = finite_items(validation["logits"])
        fit_logits, fit_labels = validation["logits"][usable], validation["labels"][usable]
        unfit = absence(int((~usable).sum()), len(usable), "validation items have no finite logits")
        fitted = fit_temperature(fit_logits, fit_labels) if usable.any() else None
        no_fit = unfit if fitted is None else fitted.no_minimum
        read = {name.removeprefix("readout/"): values for name, values in test.items() if name.startswith("readout/")}
        first = next(iter(read))
        if fitted is not None and no_fit is None:
            scaled = np.full(test["logits"].shape, np.nan)
            scaled[finite] = log_softmax(test["logits"][finite].astype(np.float64) / fitted.value, axis=1)
            read["fitted"] = scaled
        metrics = _metrics(config.bins)
        errors = {name: Bins(*metric.bins) for name, metric in metrics.items() if metric.bins}
        scored = {name: score(log_probs, finite, labels, errors, config.seed) for name, log_probs in read.items()}
        numbers = []
        if "fitted" not in scored:
            numbers += [_unfitted(name, metric, len(labels), str(no_fit)) for name, metric in metrics.items()]
        for argument, name in {"": first, **{name: name for name in scored}}.items():
            numbers += _numbers(argument, name, metrics, scored[name])
        numbers.append(
            Number(
                metric="temperature",
                value=fitted.value if fitted is not None and no_fit is None else None,
                n=len(usable) if fitted is None else fitted.n,
                definition=_TEMPERATURE,
                interval=temperature_interval(fit_logits, fit_labels, config.seed) if no_fit is None else None,
                reason=no_fit,
                not_finite=int((~usable).sum()),
                note=None if no_fit or usable.all() else f"{unfit} and take no part in the fit of T",
            )
        )
        return Outcome(numbers, items=_items(test["ids"], scored), details=_details(first, scored))


_TEMPERATURE = "temperature[minimises NLL on validation data]"


def _group(name: str, metric: _Metric, config: CalibrationConfig) -> str:
    """The heading of a metric; of an ECE that is not the evaluation's first, with what makes it different."""
    if metric.bins is None or name in ("ece", "ece-mass"):
        return metric.group
    bins, _, edges = metric.bins
    parts = [f"{bins} bins"] if bins != config.bins else []
    return ", ".join([metric.group, *parts, *(["[lo, hi)"] if edges == "left" else [])])


def _definition(metric: _Metric, argument: str) -> str:
    which = _ARGUMENTS.get(argument) or _READOUTS.get(argument, f"read-out {argument}")
    return metric.definition.format(which=which)


def _numbers(argument: str, name: str, metrics: dict[str, _Metric], scores: ReadOutScores) -> Iterator[Number]:
    """The numbers of a read-out, with a reason or note on items without finite probabilities.

    Args:
        argument: Argument of the columns; empty for the default.
        name: Name of the read-out, in the names of its arrays.
        metrics: The metrics by name.
        scores: The scores of the read-out.
    """
    from bench.metrics.predictions import absence

    said = absence(scores.absent, scores.n, "test items have no finite probabilities")
    for which, metric in metrics.items():
        reason = note = None
        if scores.absent == scores.n:
            reason = said
        elif which == "nll" and scores.absent:
            reason = f"infinite: {said}"
        elif which == "nll" and scores.impossible:
            reason = f"infinite: {scores.impossible:,} of {scores.n:,} test items have probability 0 of their class"
        elif scores.absent:
            note = f"{said} and count as wrong with certainty"
        measure = scores.measures[which] if reason is None else None
        yield Number(
            metric=which,
            argument=argument,
            value=measure.value if measure else None,
            n=scores.n,
            definition=_definition(metric, argument),
            interval=measure.interval if measure else None,
            if_calibrated=measure.if_calibrated if measure else None,
            items=f"{metric.items}/{name}" if measure and metric.items else None,
            reason=reason,
            not_finite=scores.absent,
            note=note,
        )


def _unfitted(name: str, metric: _Metric, n: int, reason: str) -> Number:
    definition = _definition(metric, "fitted")
    return Number(metric=name, argument="fitted", value=None, n=n, definition=definition, reason=reason)


def _items(ids: NDArray[np.int64], scored: dict[str, ReadOutScores]) -> dict[str, NDArray[Any]]:
    """By name, such as ``confidence/native``, the values of each item; figures and paired tests read them."""
    arrays = {f"{kind}/{name}": values for name, scores in scored.items() for kind, values in scores.items.items()}
    return {"ids": ids, **arrays}


def _details(first: str, scored: dict[str, ReadOutScores]) -> dict[str, Any]:
    """By read-out: bins of the reliability diagram, points of the risk-coverage curve, parts of the Brier score."""
    every = {"default": scored[first], **scored}
    known = {name: scores for name, scores in every.items() if scores.items}
    return {
        "reliability": {name: dict(scores.curve) for name, scores in every.items()},
        "risk_coverage": {name: dict(scores.selective) for name, scores in known.items()},
        "brier": {name: dict(scores.decomposition) for name, scores in known.items()},
    }
