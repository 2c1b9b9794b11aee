from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics import kernel as module
from bench.metrics.kernel import CUBIC, PolynomialKernel, kernel_distance, kernel_distances


def brute(a, b, degree=3, gamma=None, coef0=1.0):
    """Pair by pair."""
    scale = 1 / a.shape[1] if gamma is None else gamma

    def k(x, y):
        return (scale * float(x @ y) + coef0) ** degree

    own = [np.mean([k(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]) for rows in (a, b)]
    return own[0] + own[1] - 2 * np.mean([k(x, y) for x in a for y in b])


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0.1, 2), st.floats(0, 2))
def test_all_pairs_by_brute_force(seed, degree, gamma, coef0):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(20, 4)), generator.normal(size=(15, 4)) + 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 70)
        value, spread = kernel_distance(a, b, degree=degree, gamma=gamma, coef0=coef0, subset_size=None)
    expected = brute(a, b, degree, gamma, coef0)
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-9 * (1 + abs(expected)) * 3**degree)
    assert spread == 0.0
    assert kernel_distance(a, b, subset_size=None)[0] == pytest.approx(brute(a, b), abs=1e-9)


def test_sets_of_rows_in_one_pass_are_those_one_by_one(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 100)
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(30, 4)), generator.normal(size=(25, 4)) + 0.5
    sets = [generator.choice(30, size, replace=False) for size in (2, 17, 30)]
    expected = [brute(a[rows], b) for rows in sets]
    np.testing.assert_allclose(kernel_distances(a, b, sets), expected, atol=1e-10)
    known = kernel_distances(a, b, sets, reference_mean=CUBIC.own_mean(b))
    np.testing.assert_allclose(known, expected, atol=1e-10)


def test_the_expectation_under_equality_is_zero():
    generator = np.random.default_rng(0)
    values = [
        kernel_distance(generator.normal(size=(40, 6)), generator.normal(size=(50, 6)), subset_size=None)[0]
        for _ in range(300)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)
    assert min(values) < 0  # unbiased: not cut at 0


def test_degree_one_is_the_squared_difference_of_means():
    generator = np.random.default_rng(1)
    shift = np.array([0.3, -0.2, 0.1])
    values = [
        kernel_distance(
            generator.normal(size=(50, 3)) + shift,
            generator.normal(size=(50, 3)),
            degree=1,
            gamma=1.0,
            coef0=0.0,
            subset_size=None,
        )[0]
        for _ in range(400)
    ]
    assert np.mean(values) == pytest.approx(float(shift @ shift), abs=3 * np.std(values) / 20)


def test_subsets_are_seeded_and_their_spread_is_that_of_the_estimates():
    generator = np.random.default_rng(2)
    a, b = generator.normal(size=(300, 4)), generator.normal(size=(200, 4)) + 0.2
    found = [kernel_distance(a, b, subsets=20, subset_size=50, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    draws = np.random.default_rng(0)
    values = [
        brute(a[rows_a], b[rows_b])
        for rows_a, rows_b in (
            (draws.choice(300, 50, replace=False), draws.choice(200, 50, replace=False)) for _ in range(20)
        )
    ]
    assert found[0] == pytest.approx((np.mean(values), np.std(values)))


def test_float32_features_are_summed_in_float64():
    """A cloud far from the origin: kernel values of 1e6 whose difference is of order 1."""
    generator = np.random.default_rng(0)
    a, b = ((generator.normal(size=(400, 8)) + 100).astype(np.float32) for _ in range(2))
    exact = kernel_distance(a.astype(np.float64), b.astype(np.float64), subset_size=None)[0]
    assert kernel_distance(a, b, subset_size=None)[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.peer
@pytest.mark.parametrize("options", [{}, {"degree": 2, "gamma": 0.5, "coef0": 0.3}])
def test_torch_fidelity(options):
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torch_fidelity.metric_kid")
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(60, 5)), generator.normal(size=(60, 5)) + 0.4
    given_options = {f"kid_kernel_poly_{name}": value for name, value in options.items()}
    # A subset of all rows is the same set in any order, so the seeds of the two do not matter.
    expected = peer.kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=3, kid_subset_size=60, verbose=False, **given_options
    )
    found = kernel_distance(a, b, subsets=3, subset_size=60, **options)
    assert found[0] == pytest.approx(expected[peer.KEY_METRIC_KID_MEAN], rel=1e-9)
    assert found[1] == pytest.approx(expected[peer.KEY_METRIC_KID_STD], abs=1e-12)
    # Over many subsets of half the rows the means agree within their errors.
    many = peer.kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=200, kid_subset_size=30, verbose=False, **given_options
    )
    mean, spread = kernel_distance(a, b, subsets=200, subset_size=30, **options)
    assert mean == pytest.approx(many[peer.KEY_METRIC_KID_MEAN], abs=4 * spread / np.sqrt(100))
    assert spread == pytest.approx(many[peer.KEY_METRIC_KID_STD], rel=0.25)


def test_bad_arguments_are_refused():
    a, b = np.zeros((5, 2)), np.ones((4, 2))
    with pytest.raises(ValueError, match="subset_size must lie in 2 … 4"):
        kernel_distance(a, b)
    with pytest.raises(ValueError, match="degree must be at least 1"):
        kernel_distance(a, b, degree=0, subset_size=None)
    with pytest.raises(ValueError, match="subsets must be at least 1"):
        kernel_distance(a, b, subsets=0, subset_size=3)
    with pytest.raises(ValueError, match="one dimension, got 2 and 1"):
        kernel_distance(a, b[:, :1], subset_size=None)
    with pytest.raises(ValueError, match="at least 2 rows, got 5 and 1"):
        kernel_distance(a, b[:1], subset_size=None)
    with pytest.raises(ValueError, match="every set needs at least 2 rows"):
        kernel_distances(a, b, [np.array([0])], kernel=PolynomialKernel())
