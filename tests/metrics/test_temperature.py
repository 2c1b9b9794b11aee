from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from bench.metrics.proper_scores import nll
from bench.metrics.temperature import TEMPERATURE_RANGE, fit_temperature, temperature_interval


def two_class_logits(margin: float, accuracy_in_tenths: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten items of one margin: the optimum T solves sigmoid(margin / T) = accuracy."""
    return np.tile([margin, 0.0], (10, 1)), (np.arange(10) >= accuracy_in_tenths).astype(int)


@pytest.mark.parametrize("expected", [0.001, 0.025, 0.5, 1.0, 1.483, 30.0, 2500.0])
def test_temperature_of_two_classes_in_closed_form(expected):
    logits, labels = two_class_logits(expected * math.log(4), accuracy_in_tenths=8)
    fit = fit_temperature(logits, labels)
    assert fit.value == pytest.approx(expected, rel=1e-9)
    assert fit.nll_after == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2), rel=1e-12)
    assert fit.n == 10
    assert not fit.at_bound


@pytest.mark.parametrize("true_temperature", [0.025, 1.48, 30.0])
def test_temperature_recovers_the_one_that_made_the_labels(true_temperature):
    generator = np.random.default_rng(0)
    calibrated = generator.normal(scale=2.0, size=(20_000, 10))
    labels = (calibrated + generator.gumbel(size=calibrated.shape)).argmax(axis=1)
    fit = fit_temperature((true_temperature * calibrated).astype(np.float32), labels)
    assert fit.value == pytest.approx(true_temperature, rel=0.03)
    assert not fit.at_bound


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_temperature_properties(seed, scale):
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=3, size=(40, 4))
    # Half the labels agree with the logits, the rest by chance: the optimum is inside the range.
    labels = np.where(np.arange(40) < 20, logits.argmax(axis=1), generator.integers(4, size=40))
    fit = fit_temperature(logits, labels)
    assert fit.nll_before == pytest.approx(nll(log_softmax(logits, axis=1), labels), rel=1e-12)
    assert fit.nll_after == pytest.approx(nll(log_softmax(logits / fit.value, axis=1), labels), rel=1e-9)
    assert fit.nll_after <= fit.nll_before + 1e-12
    assert not fit.at_bound
    # At the optimum the mean logit of the label equals the mean logit under the prediction.
    predicted = (softmax(logits / fit.value, axis=1) * logits).sum(axis=1).mean()
    assert logits[np.arange(40), labels].mean() == pytest.approx(predicted, abs=1e-8)
    assert fit_temperature(scale * logits, labels).value == pytest.approx(scale * fit.value, rel=1e-7)
    shifted = logits + generator.normal(scale=100, size=(40, 1))
    assert fit_temperature(shifted, labels).value == pytest.approx(fit.value, rel=1e-7)


@pytest.mark.parametrize("scale", [1, 1000])
def test_temperature_of_separable_data_stops_at_the_cold_end(scale):
    # At a scale of 1000 every other probability underflows, and the slope at the cold end is exactly 0.
    logits = scale * np.random.default_rng(0).normal(size=(50, 3))
    fit = fit_temperature(logits, logits.argmax(axis=1))
    assert fit.value == TEMPERATURE_RANGE[0]
    assert fit.at_bound
    assert fit.nll_after < 1e-3 * fit.nll_before
    assert fit.no_minimum == "no interior minimum: 50 of 50 validation items right"


def test_temperature_of_logits_worse_than_chance_stops_at_the_hot_end():
    logits, labels = two_class_logits(3.0, accuracy_in_tenths=3)
    fit = fit_temperature(logits, labels)
    assert fit.value == TEMPERATURE_RANGE[1]
    assert fit.at_bound
    assert fit.nll_after == pytest.approx(math.log(2), abs=1e-3)
    assert fit.no_minimum == ("no interior minimum: 3 of 10 validation items right, logits no better than a constant")


def test_constant_logits_fit_every_temperature_so_none_is_the_fitted_one():
    fit = fit_temperature(np.full((4, 3), 7.0), [0, 1, 2, 0])
    assert (fit.value, fit.at_bound) == (1.0, True)
    assert fit.no_minimum == "no interior minimum: 2 of 4 validation items right, logits are constant"
    assert fit.nll_after == fit.nll_before == pytest.approx(math.log(3))


@pytest.mark.peer
def test_temperature_agrees_with_scikit_learn():
    calibration = pytest.importorskip("sklearn.calibration")
    frozen = pytest.importorskip("sklearn.frozen")
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(600, 3))
    labels = (2 * inputs + generator.gumbel(size=inputs.shape)).argmax(axis=1)
    model = linear_model.LogisticRegression().fit(inputs[:100], labels[:100])
    model.coef_ *= 5  # overconfident
    try:
        reference = calibration.CalibratedClassifierCV(frozen.FrozenEstimator(model), method="temperature")
        reference.fit(inputs[100:], labels[100:])
    except ValueError:
        pytest.skip("this scikit-learn has no temperature scaling")
    logits = model.decision_function(inputs[100:])
    fit = fit_temperature(logits, labels[100:])
    np.testing.assert_allclose(softmax(logits / fit.value, axis=1), reference.predict_proba(inputs[100:]), atol=2e-5)


@settings(deadline=None)  # the first fit imports the root finder
@given(st.integers(0, 10_000), st.integers(2, 5), st.floats(0.05, 20))
@example(4779, 4, 14.0)  # the likelihood has its minimum at a temperature above the range
def test_a_temperature_is_fitted_exactly_where_the_likelihood_has_an_interior_minimum(seed, classes, scale):
    """The NLL is convex in 1/T: it has a minimum inside if it falls at the largest T and some item stays wrong."""
    generator = np.random.default_rng(seed)
    logits = scale * generator.normal(size=(12, classes))
    labels = np.where(generator.random(12) < generator.random(), logits.argmax(1), generator.integers(classes, size=12))
    fit = fit_temperature(logits, labels)
    own = logits[np.arange(12), labels]
    falls = ((softmax(logits / 1e4, axis=1) * logits).sum(axis=1) - own).mean() < 0
    wrong = (logits.argmax(axis=1) != labels).any()
    assert (fit.no_minimum is None) == (falls and wrong)
    assert fit.right == (logits.argmax(axis=1) == labels).sum()


def test_a_minimum_beyond_the_range_is_no_fitted_temperature():
    """These logits have their minimum at T = 0.066; a thousandth of them at 0.000066."""
    logits = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1e-6]])
    assert not fit_temperature(logits, [0, 0, 0]).at_bound
    logits = logits / 1000
    fit = fit_temperature(logits, [0, 0, 0])
    assert fit.at_bound
    assert fit.no_minimum == "no minimum at T > 0.0001: 2 of 3 validation items right"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_temperature_refuses_logits_that_are_not_finite(bad):
    with pytest.raises(ValueError, match="logits must"):
        fit_temperature([[bad, 0.0]], [0])


def sampled(n: int, scale: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of four classes whose best temperature is the scale, and labels drawn from them."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=2, size=(n, 4))
    return scale * logits, (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)


@pytest.mark.parametrize("scale", [0.02, 1.0, 25.0])
def test_the_interval_of_a_temperature_scales_with_the_logits_and_holds_the_fitted_one(scale):
    logits, labels = sampled(500, scale, seed=1)
    interval = temperature_interval(logits, labels, seed=0)
    assert interval is not None
    assert interval.low < fit_temperature(logits, labels).value < interval.high
    unscaled = temperature_interval(logits / scale, labels, seed=0)
    assert interval.low == pytest.approx(scale * unscaled.low, rel=1e-3)
    assert interval.high == pytest.approx(scale * unscaled.high, rel=1e-3)
    assert temperature_interval(logits, labels, seed=0) == interval


def test_the_interval_narrows_as_one_over_root_n():
    widths = []
    for n in (400, 6400):
        interval = temperature_interval(*sampled(n, 1.0, seed=2), seed=0)
        widths.append(math.log(interval.high / interval.low))
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)


def test_one_wrong_item_leaves_the_temperature_without_a_lower_bound():
    logits = np.array([[3.0, 0.0]] * 40 + [[0.001, 0.0]])
    labels = np.array([0] * 40 + [1])
    interval = temperature_interval(logits, labels, seed=0)
    assert interval is not None
    assert interval.low == TEMPERATURE_RANGE[0]
    assert interval.high < TEMPERATURE_RANGE[1]


def test_without_a_fitted_temperature_there_is_no_interval():
    assert temperature_interval([[1.0, 0.0], [0.0, 1.0]], [0, 1], seed=0) is None
    with pytest.raises(ValueError, match="level"):
        temperature_interval([[1.0, 0.0]], [0], seed=0, level=1.5)
    with pytest.raises(ValueError, match="resamples"):
        temperature_interval([[1.0, 0.0]], [0], seed=0, resamples=5)
