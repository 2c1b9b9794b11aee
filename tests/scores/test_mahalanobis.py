from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scores.mahalanobis import ClassGaussians, fit_gaussians, mahalanobis
from bench.scores.spec import UndefinedScoreError


def sample(seed=0, n=300, d=6, classes=3):
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    means = generator.normal(scale=5, size=(classes, d))
    return means[labels] + generator.normal(size=(n, d)) @ generator.normal(size=(d, d)), labels


def test_the_identity_as_covariance_gives_squared_distances():
    gaussians = ClassGaussians(np.array([[0.0, 0.0], [10.0, 0.0]]), np.eye(2))
    np.testing.assert_allclose(mahalanobis([[3.0, 4.0], [10.0, 2.0]], gaussians), [-25.0, -4.0])


def test_it_equals_its_definition():
    features, labels = sample()
    means = np.array([features[labels == y].mean(axis=0) for y in range(3)])
    within = features - means[labels]
    inverse = np.linalg.inv(within.T @ within / len(features))
    items = features[:20] + 1.5
    expected = [-min((f - mean) @ inverse @ (f - mean) for mean in means) for f in items]
    np.testing.assert_allclose(mahalanobis(items, fit_gaussians(features, labels)), expected, rtol=1e-9)


@given(st.integers(0, 1000))
def test_an_invertible_linear_map_of_the_features_changes_nothing(seed):
    features, labels = sample(seed)
    generator = np.random.default_rng(seed + 1)
    turn = np.linalg.qr(generator.normal(size=(6, 6)))[0] * generator.uniform(0.5, 2, size=6)
    items = features[:10] + 1
    before = mahalanobis(items, fit_gaussians(features, labels))
    after = mahalanobis(items @ turn + 7, fit_gaussians(features @ turn + 7, labels))
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_directions_without_variance_count_for_nothing():
    features, labels = sample()
    wide = np.column_stack([features, np.full(len(features), 2.0)])
    items = np.column_stack([features[:10] + 1, np.full(10, 50.0)])
    np.testing.assert_allclose(
        mahalanobis(items, fit_gaussians(wide, labels)),
        mahalanobis(items[:, :-1], fit_gaussians(features, labels)),
        rtol=1e-9,
    )


def test_fewer_items_than_features_have_a_covariance_of_their_rank():
    generator = np.random.default_rng(0)
    gaussians = fit_gaussians(generator.normal(size=(10, 40)), np.arange(10) % 2)
    assert gaussians.whitening.shape == (40, 8)  # ten items less two means


def test_an_offset_of_all_features_costs_no_digits():
    """A difference of squares would lose them: the offset squared is 1e12 times the distances."""
    features, labels = sample()
    items = features[:10]
    near = mahalanobis(items, fit_gaussians(features, labels))
    far = mahalanobis(items + 1e6, fit_gaussians(features + 1e6, labels))
    np.testing.assert_allclose(far, near, rtol=1e-6)


def test_classes_without_items_have_no_mean():
    features, labels = sample()
    gaussians = fit_gaussians(features, 2 * labels)
    assert gaussians.means.shape == (3, 6)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(UndefinedScoreError, match="no feature varies"):
        fit_gaussians([[1.0, 2.0], [3.0, 4.0]], [0, 1])
    with pytest.raises(ValueError, match="got 1 of 4 values"):
        fit_gaussians([[1.0, np.nan], [3.0, 4.0]], [0, 1])
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\)"):
        fit_gaussians([[1.0, 2.0], [3.0, 4.0]], [0])
    with pytest.raises(ValueError, match="must have 6 columns, got 2"):
        mahalanobis([[1.0, 2.0]], fit_gaussians(*sample()))


@pytest.mark.peer
def test_agreement_with_pytorch_ood():
    torch = pytest.importorskip("torch")
    detector = pytest.importorskip("pytorch_ood.detector").Mahalanobis(None)
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 3
    features = generator.normal(size=(3, 6))[labels] + generator.normal(size=(300, 6))
    items = features[:50] + 2
    detector.fit_features(torch.from_numpy(features).float(), torch.from_numpy(labels))
    # Theirs takes half of the distance, and the sum of the products in place of their mean.
    theirs = -2 * 300 * detector.predict_features(torch.from_numpy(items).float()).numpy()
    np.testing.assert_allclose(theirs, mahalanobis(items, fit_gaussians(features, labels)), rtol=1e-4)
