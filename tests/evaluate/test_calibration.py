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
from bench.metrics.calibration import ece

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
    validation = arrays(np.tile([2.0, 0.0], (4, 1)), [0, 0, 0, 1])
    outcome = evaluate(given, arrays(log_probs, labels), validation, bins=4)
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


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([0, 0, 0, 0], "no interior minimum: 4 of 4 validation items right"),
        ([1, 1, 1, 0], "no interior minimum: 1 of 4 validation items right, logits no better than a constant"),
    ],
)
def test_without_an_interior_minimum_no_number_at_a_fitted_temperature_exists(
    given: Callable[..., Any], keeps_its_word: Callable[..., None], labels: list[int], reason: str
) -> None:
    """All validation items right: T runs to 0, and an NLL of thousands was printed for one wrong test item."""
    test = arrays(np.tile([5.0, 0.0], (4, 1)), [0, 0, 0, 1])
    outcome = evaluate(given, test, arrays(np.tile([5.0, 0.0], (4, 1)), labels))
    keeps_its_word(Calibration(), CalibrationConfig(), outcome, lacking=OTHERS["softmax"])
    fitted = [n for n in outcome.numbers if n.argument == "fitted" or n.metric == "temperature"]
    assert {"ece", "nll", "brier", "temperature", "ks", "aurc"} <= {n.metric for n in fitted}
    assert {(n.value, n.reason) for n in fitted} == {(None, reason)}
    assert values(outcome)["ece", ""] == pytest.approx(1 / (1 + math.exp(-5)) - 0.75)
    assert "fitted" not in outcome.details["reliability"]


BAD_ROWS = ([math.nan, math.nan], [math.nan, 0.0], [math.inf, 0.0], [0.0, -math.inf])


@pytest.mark.parametrize("bad", BAD_ROWS)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_items_without_finite_logits_count_as_certain_of_a_wrong_class(
    given: Callable[..., Any], keeps_its_word: Callable[..., None], bad: list[float]
) -> None:
    """Of four items one has no finite logits; the others have the confidence .9 and are right, right and wrong."""
    logits, labels = np.concatenate([binary([0.9] * 3), [bad]]), [0, 0, 1, 0]
    validation = arrays(np.tile([2.0, 0.0], (4, 1)), [0, 0, 0, 1])
    outcome = evaluate(given, arrays(logits, labels), validation)
    keeps_its_word(Calibration(), CalibrationConfig(), outcome, lacking=OTHERS["softmax"])
    found = values(outcome)
    for argument in ("", "native"):
        assert found["ece", argument] == pytest.approx(0.75 * (0.9 - 2 / 3) + 0.25)
        assert found["brier", argument] == pytest.approx((2 * 0.02 + 2 * 0.81 + 2) / 4)
    numbers = {(n.metric, n.argument): n for n in outcome.numbers}
    assert numbers["nll", ""].reason == "infinite: 1 of 4 test items have no finite probabilities"
    assert numbers["nll", "fitted"].value is None
    note = "1 of 4 test items have no finite probabilities and count as wrong with certainty"
    assert {n.note for n in outcome.numbers if n.metric in ("ece", "brier")} == {note}
    assert {n.not_finite for n in outcome.numbers if n.metric != "temperature"} == {1}
    assert {n.n for n in outcome.numbers} == {4}


@pytest.mark.filterwarnings("ignore:invalid value")
def test_no_model_gains_by_outputs_that_are_not_finite(given: Callable[..., Any]) -> None:
    """Underconfident predictions, all right: with NaN in place of some, ECE, Brier score and accuracy get worse."""
    validation = arrays(np.tile([2.0, 0.0], (4, 1)), [0, 0, 0, 1])
    worse: list[tuple[float, float]] = []
    for count in range(4):
        logits = binary([0.96] * 100)
        logits[:count] = math.nan
        found = values(evaluate(given, arrays(logits, [0] * 100), validation))
        worse.append((float(found["ece", ""] or 0), float(found["brier", ""] or 0)))
    assert worse == sorted(worse)
    assert len(set(worse)) == 4


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_model_without_any_finite_output_has_no_number_but_a_reason(
    given: Callable[..., Any], keeps_its_word: Callable[..., None]
) -> None:
    nowhere = arrays(np.full((4, 2), math.nan), [0, 0, 0, 1])
    outcome = evaluate(given, nowhere, nowhere)
    keeps_its_word(Calibration(), CalibrationConfig(), outcome, lacking=OTHERS["softmax"])
    assert {n.value for n in outcome.numbers} == {None}
    assert {n.reason for n in outcome.numbers} == {
        "4 of 4 test items have no finite probabilities",
        "4 of 4 validation items have no finite logits",
    }


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_read_out_without_finite_values_costs_only_itself(
    given: Callable[..., Any], keeps_its_word: Callable[..., None]
) -> None:
    """GMMC whose gamma^2 was never estimated: the paper's read-out is NaN, the others are not."""
    readouts = {"code": binary([0.9] * 4), "paper": np.full((4, 2), math.nan), "linear": binary([0.6] * 4)}
    test = arrays(np.tile([5.0, 0.0], (4, 1)), [0, 0, 0, 1], **readouts)
    outcome = evaluate(given, test, arrays(np.tile([2.0, 0.0], (4, 1)), [0, 0, 0, 1]))
    keeps_its_word(Calibration(), CalibrationConfig(), outcome, lacking=OTHERS["gmmc"])
    assert {n.argument for n in outcome.numbers if n.value is None} == {"paper"}
    assert {n.reason for n in outcome.numbers if n.value is None} == {"4 of 4 test items have no finite probabilities"}


def test_validation_items_without_finite_logits_take_no_part_in_the_fit(given: Callable[..., Any]) -> None:
    clean = np.tile([2.0, 0.0], (8, 1))
    validation = arrays(np.concatenate([clean, [[math.nan, 0.0]]]), [*[0, 0, 0, 1] * 2, 1])
    outcome = evaluate(given, arrays(clean, [0] * 8), validation)
    (temperature,) = [number for number in outcome.numbers if number.metric == "temperature"]
    assert temperature.value == pytest.approx(2 / math.log(3))
    assert (temperature.n, temperature.not_finite) == (8, 1)
    assert temperature.note == "1 of 9 validation items have no finite logits and take no part in the fit of T"


def test_an_impossible_label_makes_the_nll_infinite_and_says_so(given: Callable[..., Any]) -> None:
    log_probs = np.array([[0.0, -math.inf], [math.log(0.5)] * 2])
    test = arrays(np.array([[5.0, 0.0]] * 2), [1, 0], native=log_probs)
    found = {(n.metric, n.argument): n for n in evaluate(given, test, test).numbers}
    assert found["nll", ""].reason == "infinite: 1 of 2 test items have probability 0 of their class"
    assert found["brier", ""].value == pytest.approx((2 + 0.5) / 2)


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


def noisy(n: int, seed: int = 0) -> dict[str, Any]:
    """Predictions of three classes of which the labels are drawn, so that they are calibrated."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(n, 3))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
    return {
        "ids": 7 + np.arange(n),
        "labels": labels,
        "logits": logits.astype(np.float32),
        "readout/code": log_softmax(logits, axis=1),
        "readout/paper": log_softmax(30 * logits, axis=1),
    }


def test_every_number_but_the_largest_gap_has_an_interval(given: Callable[..., Any]) -> None:
    outcome = evaluate(given, noisy(300), noisy(200, seed=1))
    without = {number.metric for number in outcome.numbers if number.interval is None}
    assert without == {"mce"}
    errors = {"ece", "ece-left", "ece-15", "ece-15-left", "ece-mass", "classwise-ece", "ks"}
    assert {number.metric for number in outcome.numbers if number.if_calibrated} == errors


def test_a_calibrated_read_out_is_not_told_from_calibration_and_another_is(given: Callable[..., Any]) -> None:
    found = {(n.metric, n.argument): n for n in evaluate(given, noisy(300), noisy(200, seed=1)).numbers}
    for metric in ("ece", "ece-mass", "classwise-ece", "ks"):
        calibrated, over = found[metric, "code"], found[metric, "paper"]
        assert calibrated.if_calibrated is not None
        assert over.if_calibrated is not None
        assert calibrated.if_calibrated.p_value is not None
        assert over.if_calibrated.p_value is not None
        assert calibrated.if_calibrated.p_value > 0.05 > over.if_calibrated.p_value
        assert calibrated.interval is not None
        assert over.interval is not None
        assert calibrated.interval.low == 0 < over.interval.low


def test_arrays_for_figures_and_tests_need_no_forward_pass(given: Callable[..., Any]) -> None:
    test = noisy(300)
    outcome = evaluate(given, test, noisy(200, seed=1))
    numbers = {(n.metric, n.argument): n for n in outcome.numbers}
    np.testing.assert_array_equal(outcome.items["ids"], test["ids"])
    for metric in ("nll", "brier"):
        for argument in ("", "code", "paper", "fitted"):
            number = numbers[metric, argument]
            assert number.items is not None
            assert outcome.items[number.items].mean() == pytest.approx(number.value)
        assert numbers[metric, ""].items == numbers[metric, "code"].items
    confidence, correct = outcome.items["confidence/paper"], outcome.items["correct/paper"]
    assert correct.dtype == np.bool_
    assert ece(confidence, correct) == numbers["ece", "paper"].value
    curve = outcome.details["risk_coverage"]["paper"]
    assert curve["coverage"][-1] == 1
    assert curve["risk"][-1] == pytest.approx(1 - correct.mean())
    parts = outcome.details["brier"]["paper"]
    together = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bins"]
    assert together == pytest.approx(numbers["brier", "paper"].value)


def test_the_conventions_of_other_tools_have_columns_of_their_own(given: Callable[..., Any]) -> None:
    outcome = evaluate(given, noisy(300), noisy(200, seed=1))
    found, confidence, correct = values(outcome), outcome.items["confidence/code"], outcome.items["correct/code"]
    assert found["ece-left", "code"] == ece(confidence, correct, edges="left")
    assert found["ece-15", "code"] == ece(confidence, correct, bins=15)
    assert found["ece-15-left", "code"] == ece(confidence, correct, bins=15, edges="left")
    assert found["ece-mass", "code"] == ece(confidence, correct, binning="mass")
    metrics = {column.metric for column in Calibration().columns(CalibrationConfig(bins=15))}
    assert {"ece-20", "ece-20-left"} <= metrics
    assert "ece-15" not in metrics
