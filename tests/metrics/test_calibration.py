from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from bench.metrics.calibration import TEMPERATURE_RANGE, brier, ece, fit_temperature, nll, reliability

ALTERNATING = [True, False] * 5
HAND_TABLE = [
    # confidence, correct, bins, (lo, hi] with 0 kept, [lo, hi) with 1 kept
    ([0.95, 1.0], [True, False], 10, 0.475, 0.475),
    ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], ALTERNATING, 10, 0.55, 0.39),
    ([0.0, 0.05], [True, False], 10, 0.475, 0.475),
]

predictions = st.lists(st.tuples(st.floats(0, 1, allow_subnormal=False), st.booleans()), min_size=1, max_size=60).map(
    lambda pairs: tuple(np.array(column) for column in zip(*pairs, strict=True))
)


@pytest.mark.parametrize(("confidence", "correct", "bins", "right", "left"), HAND_TABLE)
def test_ece_of_the_hand_table(confidence, correct, bins, right, left):
    assert ece(confidence, correct, bins=bins) == pytest.approx(right, abs=1e-12)
    assert ece(confidence, correct, bins=bins, edges="left") == pytest.approx(left, abs=1e-12)


def test_saturated_confidences_are_counted_in_the_last_bin():
    for edges in ("right", "left"):
        curve = reliability([1.0, 1.0, 0.97], [True, False, True], bins=20, edges=edges)
        assert curve.count[-1] == 3
        assert curve.ece == pytest.approx(abs(2.97 / 3 - 2 / 3))


@pytest.mark.parametrize(("edges", "index"), [("right", 4), ("left", 5)])
def test_an_inner_edge_belongs_to_the_named_side(edges, index):
    assert reliability([0.25], [True], bins=20, edges=edges).count.nonzero()[0] == [index]


def test_reliability_reports_the_mean_confidence_and_leaves_empty_bins_without_one():
    curve = reliability([0.61, 0.63, 0.9], [True, False, True], bins=5)
    np.testing.assert_array_equal(curve.edges, np.linspace(0, 1, 6))
    np.testing.assert_array_equal(curve.count, [0, 0, 0, 2, 1])
    np.testing.assert_allclose(curve.mean_confidence, [np.nan, np.nan, np.nan, 0.62, 0.9])
    np.testing.assert_allclose(curve.accuracy, [np.nan, np.nan, np.nan, 0.5, 1.0])
    assert curve.ece == pytest.approx((2 * 0.12 + 0.1) / 3)


@given(predictions, st.integers(1, 25), st.sampled_from(["right", "left"]))
def test_ece_equals_its_definition(case, bins, edges):
    confidence, correct = case
    boundaries = np.linspace(0, 1, bins + 1)
    expected = 0.0
    for k in range(bins):
        lo, hi = boundaries[k], boundaries[k + 1]
        if edges == "right":
            inside = (confidence > lo) & (confidence <= hi) | (k == 0) & (confidence == 0)
        else:
            inside = (confidence >= lo) & (confidence < hi) | (k == bins - 1) & (confidence == 1)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert ece(confidence, correct, bins=bins, edges=edges) == pytest.approx(expected, abs=1e-12)


@given(predictions, st.sampled_from([1, 2, 4, 8]), st.sampled_from([2, 4]), st.randoms())
def test_ece_is_bounded_grows_with_nested_bins_and_ignores_order(case, bins, factor, random):
    confidence, correct = case
    value = ece(confidence, correct, bins=bins)
    assert 0 <= value <= 1
    assert value <= ece(confidence, correct, bins=factor * bins) + 1e-12
    order = random.sample(range(len(confidence)), len(confidence))
    assert ece(confidence[order], correct[order], bins=bins) == pytest.approx(value, abs=1e-12)


@given(predictions)
def test_ece_of_one_bin_is_the_gap_of_the_means(case):
    confidence, correct = case
    assert ece(confidence, correct, bins=1) == pytest.approx(abs(confidence.mean() - correct.mean()), abs=1e-12)


@given(st.floats(0, 1), st.integers(0, 20), st.integers(1, 40))
def test_ece_of_a_constant_confidence_is_its_distance_to_the_accuracy(confidence, right, bins):
    correct = np.arange(20) < right
    assert ece(np.full(20, confidence), correct, bins=bins) == pytest.approx(abs(confidence - right / 20), abs=1e-12)


def test_ece_finds_calibration_and_its_absence():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.5, 1, 50_000)
    correct = generator.uniform(size=50_000) < confidence
    assert ece(confidence, correct) < 0.008
    assert ece(confidence, generator.uniform(size=50_000) < confidence - 0.1) == pytest.approx(0.1, abs=0.006)


def test_ece_of_float32_confidences_just_above_one():
    assert ece(np.array([1.0000001], dtype=np.float32), [True]) == 0.0


def test_ece_agrees_with_torchmetrics_away_from_one():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional")
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.full(5, 0.7), size=2000)
    labels = generator.integers(5, size=2000)
    assert probs.max() < 1
    expected = functional.classification.multiclass_calibration_error(
        torch.from_numpy(probs), torch.from_numpy(labels), num_classes=5, n_bins=15
    )
    assert ece(probs.max(axis=1), probs.argmax(axis=1) == labels, bins=15) == pytest.approx(float(expected), abs=1e-6)


def test_reliability_agrees_with_scikit_learn():
    calibration_curve = pytest.importorskip("sklearn.calibration").calibration_curve
    generator = np.random.default_rng(1)
    confidence = generator.uniform(size=500)
    correct = generator.uniform(size=500) < confidence**2
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=10)
    curve = reliability(confidence, correct, bins=10)
    np.testing.assert_allclose(curve.accuracy, accuracy)
    np.testing.assert_allclose(curve.mean_confidence, mean_confidence)


@pytest.mark.parametrize(
    ("confidence", "correct", "options", "message"),
    [
        ([0.5], [True], {"bins": 0}, "bins must be at least 1"),
        ([0.5], [True], {"edges": "both"}, "edges must be"),
        ([0.5, 0.6], [True], {}, "one length, got 2 and 1"),
        ([1.01], [True], {}, r"must lie in \[0, 1\]"),
        ([-0.01], [True], {}, r"must lie in \[0, 1\]"),
        ([np.nan], [True], {}, "1 NaN of 1"),
        ([], [], {}, "at least 1"),
    ],
)
def test_reliability_refuses_bad_input(confidence, correct, options, message):
    with pytest.raises(ValueError, match=message):
        reliability(confidence, correct, **options)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_uniform_predictions(classes):
    labels = np.arange(classes)
    uniform = np.full((classes, classes), 1 / classes)
    assert nll(np.log(uniform), labels) == pytest.approx(math.log(classes))
    assert brier(uniform, labels) == pytest.approx(1 - 1 / classes)


def test_certain_predictions():
    certain = np.eye(3)
    with np.errstate(divide="ignore"):
        log_certain = np.log(certain)
    assert nll(log_certain, [0, 1, 2]) == 0.0
    assert nll(log_certain, [0, 1, 1]) == math.inf
    assert brier(certain, [0, 1, 2]) == 0.0
    assert brier(certain, [1, 2, 0]) == 2.0


def test_nll_and_brier_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.ones(4), size=300)
    labels = generator.integers(4, size=300)
    assert nll(np.log(probs), labels) == pytest.approx(metrics.log_loss(labels, probs), rel=1e-12)
    one_vs_rest = sum(metrics.brier_score_loss(labels == k, probs[:, k]) for k in range(4))
    assert brier(probs, labels) == pytest.approx(one_vs_rest, rel=1e-12)


def test_brier_is_reliability_minus_resolution_plus_uncertainty():
    generator = np.random.default_rng(0)
    forecast = generator.choice([0.1, 0.35, 0.8], size=400)
    outcome = (generator.uniform(size=400) < 0.6).astype(int)
    base = outcome.mean()
    decomposition = base * (1 - base)
    for value in np.unique(forecast):
        group = outcome[forecast == value]
        decomposition += group.size / 400 * ((value - group.mean()) ** 2 - (group.mean() - base) ** 2)
    # Summed over two classes, the score is twice that of the one probability.
    assert brier(np.stack([1 - forecast, forecast], axis=1), outcome) == pytest.approx(2 * decomposition, abs=1e-12)


def test_nll_and_brier_refuse_bad_input():
    with pytest.raises(ValueError, match="logits"):
        nll([[2.0, 1.0]], [0])
    with pytest.raises(ValueError, match="0 … 1"):
        nll(np.log([[0.5, 0.5]]), [2])
    with pytest.raises(ValueError, match="logits"):
        brier([[2.0, -1.0]], [0])


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
