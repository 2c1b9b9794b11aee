from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax

from bench.evaluate.base import Need, Outcome
from bench.evaluate.calibration import Calibration, CalibrationConfig

OTHERS = {"gmmc": frozenset({"native"}), "softmax": frozenset({"code", "paper", "linear"})}


def binary(confidence: list[float]) -> NDArray[np.float64]:
    """Log-probabilities of two classes; the first has the given probability."""
    p = np.array(confidence)
    log_probs: NDArray[np.float64] = np.log(np.stack([p, 1 - p], axis=1))
    return log_probs


def arrays(log_probs: NDArray[np.float64], labels: list[int], **readouts: NDArray[np.float64]) -> dict[str, Any]:
    named = readouts or {"native": log_softmax(log_probs, axis=1)}
    return {
        "ids": np.arange(len(labels)),
        "labels": np.array(labels),
        "logits": log_probs.astype(np.float32),
        **{f"readout/{name}": values for name, values in named.items()},
    }


def values(outcome: Outcome) -> dict[tuple[str, str], float | None]:
    return {(number.metric, number.argument): number.value for number in outcome.numbers}


def evaluate(given: Callable[..., Any], test: dict[str, Any], validation: dict[str, Any], bins: int = 20) -> Outcome:
    inputs = given({"test/forward": test, "validation/forward": validation})
    return Calibration().evaluate(CalibrationConfig(bins=bins), inputs)


def test_by_hand(given: Callable[..., Any], keeps_its_word: Callable[..., None]) -> None:
    """Four bins; confidences .9, .9 (one right), .6 (wrong) and .5, which lies in (.25, .5] with the class 0."""
    log_probs, labels = binary([0.9, 0.9, 0.4, 0.5]), [0, 1, 0, 0]
    outcome = evaluate(given, arrays(log_probs, labels), arrays(log_probs, labels), bins=4)
    keeps_its_word(Calibration(), CalibrationConfig(bins=4), outcome, lacking=OTHERS["softmax"])
    found = values(outcome)
    # Bins: (.75, 1]: 2 items, confidence .9, accuracy .5; (.5, .75]: 1, .6, 0; (.25, .5]: 1, .5, 1.
    assert found["ece", ""] == pytest.approx((2 * 0.4 + 0.6 + 0.5) / 4)
    assert found["nll", ""] == pytest.approx(-np.mean(np.log([0.9, 0.1, 0.4, 0.5])))
    assert found["brier", ""] == pytest.approx(np.mean([2 * 0.01, 2 * 0.81, 2 * 0.36, 2 * 0.25]))
    curve = outcome.details["reliability"]["default"]
    assert curve["count"] == [0, 1, 1, 2]
    assert curve["accuracy"] == [None, 1.0, 0.0, 0.5]
    assert curve["confidence"] == [None, pytest.approx(0.5), pytest.approx(0.6), pytest.approx(0.9)]
    assert {number.n for number in outcome.numbers} == {4}


def test_the_temperature_is_fitted_on_validation_data_and_used_on_test_data(given: Callable[..., Any]) -> None:
    """With logits (2, 0) throughout and three in four right, NLL is least where sigmoid(2 / T) = 3/4."""
    validation = arrays(np.tile([2.0, 0.0], (8, 1)), [0, 0, 0, 1] * 2)
    test = arrays(np.tile([2.0, 0.0], (10, 1)), [0] * 6 + [1] * 4)
    found = values(evaluate(given, test, validation))
    assert found["temperature", ""] == pytest.approx(2 / math.log(3))
    assert found["ece", "fitted"] == pytest.approx(0.75 - 0.6)
    assert found["ece", ""] == pytest.approx(1 / (1 + math.exp(-2)) - 0.6)
    assert found["nll", "fitted"] == pytest.approx(-(0.6 * math.log(0.75) + 0.4 * math.log(0.25)))
    numbers = evaluate(given, test, validation).numbers
    (temperature,) = [number for number in numbers if number.metric == "temperature"]
    assert temperature.n == 8


def test_every_readout_has_its_own_numbers_and_the_first_is_the_default(
    given: Callable[..., Any], keeps_its_word: Callable[..., None]
) -> None:
    labels = [0, 0, 0, 1]
    readouts = {"code": binary([1 - 1e-9] * 4), "paper": binary([0.75] * 4), "linear": binary([0.5] * 4)}
    test = arrays(np.tile([5.0, 0.0], (4, 1)), labels, **readouts)
    outcome = evaluate(given, test, arrays(np.tile([5.0, 0.0], (4, 1)), labels))
    keeps_its_word(Calibration(), CalibrationConfig(), outcome, lacking=OTHERS["gmmc"])
    found = values(outcome)
    assert found["ece", "code"] == pytest.approx(0.25, abs=1e-6)
    assert found["ece", "paper"] == pytest.approx(0, abs=1e-12)
    assert found["ece", "linear"] == pytest.approx(0.25)
    assert found["ece", ""] == found["ece", "code"]
    assert found["nll", "paper"] == pytest.approx(-np.mean(np.log([0.75, 0.75, 0.75, 0.25])))
    assert set(outcome.details["reliability"]) == {"default", "fitted", "code", "paper", "linear"}


def test_a_temperature_at_the_bound_says_so(given: Callable[..., Any]) -> None:
    right = arrays(np.tile([5.0, 0.0], (4, 1)), [0, 0, 0, 0])
    numbers = evaluate(given, right, right).numbers
    assert [number.flags for number in numbers if number.metric == "temperature"] == [
        {"T": "at the bound of the search"}
    ]


@pytest.mark.parametrize("bins", [10, 15])
def test_definitions_come_from_the_parameters(bins: int) -> None:
    config = CalibrationConfig(bins=bins)
    columns = {(column.metric, column.argument): column for column in Calibration().columns(config)}
    definitions = {key: column.definition for key, column in columns.items()}
    assert Calibration().label(config) == f"ECE, {bins} bins"
    assert {f"w{bins}" in definition for (m, _), definition in definitions.items() if m == "ece"} == {True}
    assert len(set(definitions.values())) == len(definitions)
    assert columns["ece", "linear"].readout == "linear"
    assert columns["ece", "fitted"].readout is None


def test_it_needs_test_and_validation_predictions() -> None:
    needs = Calibration().needs(CalibrationConfig())
    assert needs == (Need("test", "forward"), Need("validation", "forward"))
