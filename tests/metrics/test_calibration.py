from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from bench.metrics.calibration import classwise_ece, debiased_ece, ece, ks_error, mce, reliability

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


@pytest.mark.peer
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


@pytest.mark.peer
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


@pytest.mark.parametrize(("confidence", "correct", "bins", "right", "left"), HAND_TABLE)
def test_mce_of_the_hand_table_is_its_largest_gap(confidence, correct, bins, right, left):
    for edges in ("right", "left"):
        curve = reliability(confidence, correct, bins=bins, edges=edges)
        gaps = np.abs(curve.accuracy - curve.mean_confidence)
        assert mce(confidence, correct, bins=bins, edges=edges) == pytest.approx(np.nanmax(gaps))
    assert mce(confidence, correct, bins=1) == pytest.approx(ece(confidence, correct, bins=1))


def test_a_third_of_exact_ones_is_counted_on_either_side():
    """Of 10,000 float32 softmax outputs a third is exactly 1.0; with bins that are half-open at 1 they are lost."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=40, size=(10_000, 10)).astype(np.float32)
    confidence = softmax(logits, axis=1).max(axis=1)
    correct = generator.uniform(size=10_000) < 0.8
    assert 0.1 < (confidence == 1).mean() < 0.6
    for binning in ("width", "mass"):
        for edges in ("right", "left"):
            curve = reliability(confidence, correct, bins=15, binning=binning, edges=edges)
            assert curve.count.sum() == 10_000
            assert curve.count[-1] >= (confidence == 1).sum()
            assert ece(confidence, correct, bins=15, binning=binning, edges=edges) > 0.15


def test_equal_mass_bins_hold_equally_many_distinct_confidences():
    confidence = np.random.default_rng(0).uniform(size=1000)
    for edges in ("right", "left"):
        curve = reliability(confidence, confidence > 0.5, bins=8, binning="mass", edges=edges)
        np.testing.assert_array_equal(curve.count, np.full(8, 125))
        assert (curve.edges[0], curve.edges[-1]) == (0, 1)


tied = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40).map(
    lambda pairs: tuple(np.array(column) for column in zip(*pairs, strict=True))
)


@given(tied, st.integers(1, 12), st.sampled_from(["right", "left"]))
def test_equal_mass_bins_never_split_ties_and_lose_no_item(case, bins, edges):
    confidence, correct = case
    curve = reliability(confidence, correct, bins=bins, binning="mass", edges=edges)
    assert curve.count.sum() == len(confidence)
    assert len(curve.count) <= min(bins, len(np.unique(confidence)))
    assert (np.diff(curve.edges) >= 0).all()
    assert (curve.count > 0).all()
    inner = curve.edges[1:-1]
    index = np.searchsorted(inner, confidence, side="left" if edges == "right" else "right")
    np.testing.assert_array_equal(np.bincount(index, minlength=len(curve.count)), curve.count)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_equal_confidences_are_one_bin_of_equal_mass(value):
    curve = reliability(np.full(9, value), np.arange(9) < 3, bins=5, binning="mass")
    np.testing.assert_array_equal(curve.count, [9])
    np.testing.assert_array_equal(curve.edges, [0, 1])
    assert curve.ece == pytest.approx(abs(value - 1 / 3))


@given(predictions, st.sampled_from(["width", "mass"]), st.sampled_from(["right", "left"]), st.randoms())
def test_every_error_is_bounded_and_ignores_order(case, binning, edges, random):
    confidence, correct = case
    order = random.sample(range(len(confidence)), len(confidence))
    for error in (ece, mce, debiased_ece):
        value = error(confidence, correct, bins=7, binning=binning, edges=edges)
        assert 0 <= value <= 1
        assert error(confidence[order], correct[order], bins=7, binning=binning, edges=edges) == pytest.approx(value)
    assert debiased_ece(confidence, correct) <= ece(confidence, correct) + 1e-12
    assert ece(confidence, correct) <= mce(confidence, correct) + 1e-12
    assert ks_error(confidence[order], correct[order]) == pytest.approx(ks_error(confidence, correct), abs=1e-12)


@given(st.one_of(predictions, tied))
def test_ks_error_is_the_largest_difference_of_the_cumulated_shares(case):
    confidence, correct = case
    expected = max(
        abs((correct[confidence <= t].sum() - confidence[confidence <= t].sum()) / len(correct)) for t in confidence
    )
    assert ks_error(confidence, correct) == pytest.approx(expected, abs=1e-12)


@given(st.floats(0, 1), st.integers(0, 20))
def test_ks_error_of_a_constant_confidence_is_its_distance_to_the_accuracy(confidence, right):
    assert ks_error(np.full(20, confidence), np.arange(20) < right) == pytest.approx(abs(confidence - right / 20))


@pytest.mark.parametrize("n", [100, 10_000])
def test_ks_error_of_calibrated_predictions_falls_as_one_over_root_n(n):
    generator = np.random.default_rng(0)
    values = []
    for _ in range(20):
        confidence = generator.uniform(0.5, 1, n)
        values.append(ks_error(confidence, generator.uniform(size=n) < confidence))
    assert 0.2 < np.mean(values) * np.sqrt(n) < 0.8


def test_debiasing_takes_most_of_the_bias_of_calibrated_predictions_and_little_of_a_true_gap():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.5, 1, 2000)
    calibrated = [generator.uniform(size=2000) < confidence for _ in range(30)]
    plain, debiased = (np.mean([error(confidence, hit) for hit in calibrated]) for error in (ece, debiased_ece))
    assert debiased < 0.7 * plain
    over = generator.uniform(size=2000) < confidence - 0.2
    assert debiased_ece(confidence, over) == pytest.approx(ece(confidence, over), abs=0.005)


def test_debiased_ece_agrees_with_the_sampled_expectation_of_its_source():
    """`normal_debiased_ce` of Kumar et al.'s code: plug-in less (mean of resampled - plug-in)."""
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.5, 1, 500)
    correct = generator.uniform(size=500) < confidence - 0.05
    curve = reliability(confidence, correct, bins=10)
    filled = curve.count > 0
    count, accuracy, stated = curve.count[filled], curve.accuracy[filled], curve.mean_confidence[filled]
    drawn = generator.normal(accuracy, np.sqrt(accuracy * (1 - accuracy) / count), size=(200_000, count.size))
    resampled = (np.abs(drawn - stated) @ count / 500).mean()
    assert debiased_ece(confidence, correct, bins=10) == pytest.approx(2 * curve.ece - resampled, abs=2e-4)


def test_classwise_ece_is_the_mean_over_one_vs_rest_classes():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.ones(4), size=200)
    labels = generator.integers(4, size=200)
    for binning in ("width", "mass"):
        each = [ece(probs[:, k], labels == k, bins=10, binning=binning) for k in range(4)]
        assert classwise_ece(probs, labels, bins=10, binning=binning) == pytest.approx(np.mean(each))


def test_classwise_ece_keeps_probabilities_of_exactly_zero():
    assert classwise_ece([[1.0, 0.0], [1.0, 0.0]], [1, 1], bins=5) == pytest.approx(1.0)


@given(st.integers(0, 10_000))
def test_classwise_ece_of_two_classes_is_that_of_either_away_from_edges(seed):
    generator = np.random.default_rng(seed)
    p = generator.uniform(size=50)
    labels = generator.integers(2, size=50)
    probs = np.stack([p, 1 - p], axis=1)
    assert classwise_ece(probs, labels, bins=5) == pytest.approx(ece(p, labels == 0, bins=5), abs=1e-12)


def test_unknown_binnings_and_labels_are_refused():
    with pytest.raises(ValueError, match="binning must be"):
        ece([0.5], [True], binning="quantile")
    with pytest.raises(ValueError, match="one length"):
        ks_error([0.5, 0.6], [True])
    with pytest.raises(ValueError, match="0 … 1"):
        classwise_ece([[0.5, 0.5]], [2])


@pytest.fixture(scope="module")
def five_classes():
    """Probabilities of five classes in float64, none of them 1, and labels."""
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.full(5, 0.7), size=2000)
    return probs, generator.integers(5, size=2000)


@pytest.mark.peer
@pytest.mark.parametrize("bins", [10, 15])
def test_ece_and_mce_agree_with_netcal_in_float64(five_classes, bins):
    """netcal's bins are [lo, hi), the last one closed. On float32 with ties its bins of equal mass raise an error."""
    metrics = pytest.importorskip("netcal.metrics")
    probs, labels = five_classes
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    expected = metrics.ECE(bins).measure(probs, labels)
    assert ece(confidence, correct, bins=bins, edges="left") == pytest.approx(float(expected), abs=1e-9)
    expected = metrics.MCE(bins).measure(probs, labels)
    assert mce(confidence, correct, bins=bins, edges="left") == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.peer
def test_ece_agrees_with_uncertainty_calibration(five_classes):
    """Its bins of equal width are (lo, hi]; those of equal mass split a sorted list by count, ties included."""
    calibration = pytest.importorskip("calibration")
    probs, labels = five_classes
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    assert ece(confidence, correct, bins=15) == pytest.approx(calibration.get_ece(probs, labels, num_bins=15), abs=1e-9)
    assert ece(confidence, correct, bins=20, binning="mass") == pytest.approx(
        calibration.get_ece_em(probs, labels, num_bins=20), abs=1e-9
    )


@pytest.mark.peer
def test_ece_agrees_with_pytorch_ood_for_bins_of_equal_mass(five_classes):
    """pytorch-ood puts a fixed number of sorted items into each bin, which is equal mass for 2,000 distinct ones."""
    functional = pytest.importorskip("pytorch_ood.utils.metrics_functional")
    torch = pytest.importorskip("torch")
    probs, labels = five_classes
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == labels
    expected = functional.calibration_error(torch.from_numpy(confidence), torch.from_numpy(correct), p="1", beta=100)
    assert ece(confidence, correct, bins=20, binning="mass") == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.peer
def test_torchmetrics_puts_a_confidence_of_one_into_a_bin_of_its_own():
    """A known defect of torchmetrics (issue 3510): .525 instead of .475 for the first case of the hand table."""
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional")
    found = functional.classification.binary_calibration_error(
        torch.tensor([0.95, 1.0]), torch.tensor([1, 0]), n_bins=10
    )
    assert float(found) == pytest.approx(0.525, abs=1e-6)
    assert ece([0.95, 1.0], [1, 0], bins=10) == pytest.approx(0.475)
