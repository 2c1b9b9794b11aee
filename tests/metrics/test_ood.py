from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.ood import auroc, average_precision, fpr_at_tpr, missing_as_wrong, placement_values

# Few distinct values, so that ties are common; infinities are scores too.
tied = st.lists(st.sampled_from([-np.inf, -2.0, -1.0, 0.0, 0.5, 3.0, np.inf]), min_size=1, max_size=50)
finite = st.lists(st.integers(-40, 40).map(lambda value: value / 8), min_size=1, max_size=50)
sides = st.sampled_from(["in", "out"])


def signed(in_scores, out_scores, positive):
    """Positive and negative scores, higher = positive."""
    inside, outside = np.array(in_scores), np.array(out_scores)
    return (inside, outside) if positive == "in" else (-outside, -inside)


@given(tied, tied)
def test_auroc_is_the_share_of_ordered_pairs(inside, outside):
    wins = sum(Fraction(int(a > b)) + Fraction(int(a == b), 2) for a in inside for b in outside)
    assert auroc(inside, outside) == pytest.approx(float(wins / (len(inside) * len(outside))), abs=1e-15)


@given(tied, tied)
def test_auroc_of_negated_or_exchanged_scores_is_the_complement(inside, outside):
    value = auroc(inside, outside)
    assert auroc(-np.array(inside), -np.array(outside)) == pytest.approx(1 - value, abs=1e-15)
    assert auroc(outside, inside) == pytest.approx(1 - value, abs=1e-15)


@given(finite, finite, sides)
def test_rank_metrics_ignore_strictly_increasing_maps(inside, outside, positive):
    maps = [
        lambda s: s**3,
        lambda s: 1e4 * s,
        lambda s: s + 1e4,
        lambda s: s - 150,
        np.exp,
        lambda s: 0.01 * s,
    ]
    metrics = [
        auroc,
        lambda a, b: average_precision(a, b, positive=positive),
        lambda a, b: fpr_at_tpr(a, b, positive=positive),
    ]
    for metric in metrics:
        for increasing in maps:
            assert metric(increasing(np.array(inside)), increasing(np.array(outside))) == metric(inside, outside)


def test_perfect_reversed_and_constant_scores():
    assert auroc([1, 2], [0, -1]) == 1.0
    assert auroc([0, -1], [1, 2]) == 0.0
    assert auroc([7, 7], [7, 7, 7]) == 0.5
    for positive in ("in", "out"):
        assert average_precision([1, 2], [0, -1], positive=positive) == 1.0
        assert fpr_at_tpr([1, 2], [0, -1], positive=positive) == 0.0
        assert fpr_at_tpr([7, 7], [7, 7, 7], positive=positive) == 1.0
    assert average_precision([7, 7], [7, 7, 7], positive="in") == 2 / 5
    assert average_precision([7, 7], [7, 7, 7], positive="out") == 3 / 5


@given(tied, tied)
def test_placement_values_average_to_the_auroc(inside, outside):
    above, below = placement_values(inside, outside)
    assert above.shape == (len(inside),)
    assert below.shape == (len(outside),)
    assert above.mean() == pytest.approx(auroc(inside, outside), abs=1e-14)
    assert below.mean() == pytest.approx(auroc(inside, outside), abs=1e-14)


def test_placement_values_of_a_hand_case():
    above, below = placement_values([3.0, 1.0], [0.0, 1.0, 2.0, 4.0])
    np.testing.assert_allclose(above, [3 / 4, 1.5 / 4])
    np.testing.assert_allclose(below, [1, 0.75, 0.5, 0])


@given(tied, tied, sides)
def test_average_precision_equals_its_definition(inside, outside, positive):
    wanted, other = signed(inside, outside, positive)
    total, previous_recall = 0.0, 0.0
    for threshold in sorted({*wanted, *other}, reverse=True):
        hits, false = (wanted >= threshold).sum(), (other >= threshold).sum()
        total += (hits / wanted.size - previous_recall) * hits / (hits + false)
        previous_recall = hits / wanted.size
    assert average_precision(inside, outside, positive=positive) == pytest.approx(total, abs=1e-12)


@given(tied, tied, sides, st.floats(0.01, 1))
def test_fpr_at_tpr_equals_a_scan_of_all_thresholds(inside, outside, positive, tpr):
    wanted, other = signed(inside, outside, positive)
    rates = [((wanted >= t).mean(), (other >= t).mean()) for t in sorted({*wanted, *other}, reverse=True)]
    expected = next(fpr for rate, fpr in rates if rate >= tpr)
    assert fpr_at_tpr(inside, outside, tpr, positive=positive) == expected


def test_fpr_at_tpr_keeps_all_points_of_identical_discrete_scores():
    # With collinear points dropped from the curve this would be 1.
    scores = np.repeat(np.arange(20.0), 5)
    for positive in ("in", "out"):
        assert fpr_at_tpr(scores, scores, positive=positive) == 0.95


@pytest.mark.parametrize("n", [20, 40, 60, 100, 180, 1000, 10_000])
def test_fpr_at_tpr_needs_exactly_95_percent_where_n_allows_it(n):
    inside = np.arange(n, dtype=float)
    just_below_the_threshold = n // 20 - 0.5
    assert fpr_at_tpr(inside, [just_below_the_threshold], positive="in") == 0.0
    assert fpr_at_tpr(inside, [n // 20 + 0.5], positive="in") == 1.0


def test_fpr_at_tpr_compares_rates_without_rounding_up():
    # 0.55 * 100 is 55.00000000000001 in floating point; 55 of 100 suffice.
    assert fpr_at_tpr(np.arange(100.0), [44.5], 0.55, positive="in") == 0.0


def test_the_two_directions_of_fpr_are_different_numbers():
    inside, outside = [1.0, 2.0, 3.0, 10.0], [0.0, 0.5, 4.0, 0.25]
    assert fpr_at_tpr(inside, outside, 0.75, positive="in") == 0.25
    assert fpr_at_tpr(inside, outside, 0.75, positive="out") == 0.0


@pytest.mark.peer
@pytest.mark.parametrize("decimals", [None, 1])
def test_agreement_with_scikit_learn(decimals):
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    inside, outside = generator.normal(60, 8, 700), generator.normal(50, 12, 300)
    if decimals is not None:
        inside, outside = inside.round(decimals), outside.round(decimals)
    is_in = np.repeat([1, 0], [700, 300])
    scores = np.concatenate([inside, outside])
    assert auroc(inside, outside) == pytest.approx(metrics.roc_auc_score(is_in, scores), abs=1e-12)
    assert average_precision(inside, outside, positive="in") == pytest.approx(
        metrics.average_precision_score(is_in, scores), abs=1e-12
    )
    assert average_precision(inside, outside, positive="out") == pytest.approx(
        metrics.average_precision_score(1 - is_in, -scores), abs=1e-12
    )
    for positive, labels, sign in (("in", is_in, 1), ("out", 1 - is_in, -1)):
        fpr, tpr, _ = metrics.roc_curve(labels, sign * scores, drop_intermediate=False)
        assert fpr_at_tpr(inside, outside, positive=positive) == pytest.approx(fpr[tpr >= 0.95][0], abs=1e-12)


@pytest.mark.peer
@pytest.mark.parametrize("decimals", [None, 0])
def test_agreement_with_pytorch_ood(decimals):
    """Its areas below the precision-recall curve are trapezoids, which ties inflate: AUPR is compared without ties."""
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("pytorch_ood.metrics.functional")
    generator = np.random.default_rng(0)
    inside, outside = generator.normal(60, 8, 700), generator.normal(50, 12, 300)
    if decimals is not None:
        inside, outside = inside.round(decimals), outside.round(decimals)
    # Theirs are outlier scores, and negative labels mark out-of-distribution items.
    scores = -torch.from_numpy(np.concatenate([inside, outside]))
    labels = torch.tensor([1] * 700 + [-1] * 300)
    assert float(functional.auroc(scores, labels)) == pytest.approx(auroc(inside, outside), abs=1e-12)
    theirs = float(functional.fpr_at_tpr(scores, labels))
    assert theirs == pytest.approx(fpr_at_tpr(inside, outside, positive="out"), abs=1e-12)
    if decimals is None:
        for positive, name in (("out", "ood"), ("in", "id")):
            area = float(functional.aupr(scores, labels, positive=name))
            assert area == pytest.approx(average_precision(inside, outside, positive=positive), abs=2e-3)


@pytest.mark.peer
def test_auroc_agrees_with_torchmetrics_inside_the_unit_interval():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional")
    generator = np.random.default_rng(0)
    inside, outside = generator.beta(4, 2, 400), generator.beta(2, 3, 600)
    expected = functional.classification.binary_auroc(
        torch.from_numpy(np.concatenate([inside, outside])), torch.tensor([1] * 400 + [0] * 600)
    )
    assert auroc(inside, outside) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("level", [-200, 150])
def test_auroc_of_large_scores_is_not_flattened(level):
    # Scores like log densities: a sigmoid before ranking would answer about 0.5, in float64 for positive ones.
    generator = np.random.default_rng(0)
    inside, outside = generator.normal(level + 50, 20, 5000), generator.normal(level, 37, 5000)
    assert auroc(inside, outside) == pytest.approx(0.8826, abs=0.01)  # Phi(50 / sqrt(20^2 + 37^2))


@given(st.integers(0, 10_000), sides)
def test_exchanging_the_sets_and_the_sign_exchanges_the_directions(seed, positive):
    generator = np.random.default_rng(seed)
    inside, outside = generator.integers(0, 9, 30).astype(float), generator.integers(0, 9, 20).astype(float)
    other = "out" if positive == "in" else "in"
    for metric in (average_precision, fpr_at_tpr):
        assert metric(inside, outside, positive=positive) == metric(-outside, -inside, positive=other)


@given(tied, tied, sides, st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_higher_true_positive_rate_costs_no_fewer_false_positives(inside, outside, positive, one, two):
    low, high = (fpr_at_tpr(inside, outside, tpr, positive=positive) for tpr in sorted((one, two)))
    assert low <= high


@pytest.mark.parametrize(
    "metric",
    [
        auroc,
        placement_values,
        lambda a, b: average_precision(a, b, positive="in"),
        lambda a, b: fpr_at_tpr(a, b, positive="out"),
    ],
)
def test_nan_and_empty_sets_are_refused(metric):
    with pytest.raises(ValueError, match="in_scores must not be NaN, got 2 NaN of 3"):
        metric([np.nan, 1.0, np.nan], [0.0])
    with pytest.raises(ValueError, match="out_scores must not be NaN, got 1 NaN of 1"):
        metric([1.0], [np.nan])
    with pytest.raises(ValueError, match="out_scores needs at least 1"):
        metric([1.0], [])


def test_bad_options_are_refused():
    for tpr in (0.0, 1.5, np.nan):
        with pytest.raises(ValueError, match="tpr must"):
            fpr_at_tpr([1.0], [0.0], tpr, positive="in")
    with pytest.raises(ValueError, match="positive must be"):
        fpr_at_tpr([1.0], [0.0], positive="ood")
    with pytest.raises(ValueError, match="positive must be"):
        average_precision([1.0], [0.0], positive="id")


@given(st.integers(0, 10_000))
def test_missing_scores_lose_every_pair(seed):
    generator = np.random.default_rng(seed)
    inside, outside = generator.integers(0, 6, 9).astype(float), generator.integers(0, 6, 7).astype(float)
    inside[generator.random(9) < 0.3], outside[generator.random(7) < 0.3] = np.nan, np.nan
    outside[0], inside[0] = -np.inf, np.inf
    ranks_in, ranks_out = missing_as_wrong(inside, outside)
    pairs = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)  # a comparison with NaN is false
    assert auroc(ranks_in, ranks_out) == pytest.approx(pairs.mean())


def test_without_missing_scores_ranks_change_nothing():
    inside, outside = [3.0, 2.0, np.inf], [2.0, -np.inf]
    assert auroc(*missing_as_wrong(inside, outside)) == auroc(inside, outside)
    with pytest.raises(ValueError, match="out_scores needs at least 1"):
        missing_as_wrong([1.0], [])
