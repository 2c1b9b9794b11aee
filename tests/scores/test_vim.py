from __future__ import annotations

import numpy as np
import pytest

from bench.scores.spec import UndefinedScoreError
from bench.scores.vim import Head, VirtualLogit, fit_vim, linear_head, vim


def network(seed=0, n=400, d=12, classes=4):
    """Features with six strong and six weak directions, and a linear head."""
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.normal(size=(d, d)))[0]
    scales = np.where(np.arange(d) < d // 2, 3.0, 0.3)
    features = 2 + generator.normal(size=(n, d)) * scales @ turn
    return features, generator.normal(size=(classes, d)), generator.normal(size=classes)


def test_the_head_is_found_from_float32_outputs():
    features, weight, bias = network()
    logits = (features @ weight.T + bias).astype(np.float32)
    head = linear_head(features.astype(np.float32), logits)
    np.testing.assert_allclose(head.weight, weight.T, atol=1e-5)
    np.testing.assert_allclose(head.bias, bias, atol=1e-4)
    np.testing.assert_allclose(head.origin, -np.linalg.pinv(weight) @ bias, atol=1e-4)


def test_the_head_of_distances_to_centers_is_linear_less_a_term_of_all_classes():
    """GMMC: centers on a sphere that sum to zero give <mu_y, f>, without bias, so that the origin is 0."""
    features, _, _ = network()
    centers = 10 * (np.eye(4, 12) - np.full((4, 12), 0.25) * (np.arange(12) < 4))
    logits = -0.5 * np.square(features[:, None] - centers).sum(axis=2)
    head = linear_head(features, logits)
    np.testing.assert_allclose(head(features), features @ centers.T, atol=1e-8)
    np.testing.assert_allclose(head.origin, np.zeros(12), atol=1e-9)
    assert np.isfinite(vim(features, fit_vim(features, logits))).all()


def test_a_head_that_is_not_linear_leaves_the_score_undefined():
    features, weight, _ = network()
    with pytest.raises(UndefinedScoreError, match="not linear"):
        linear_head(features, np.tanh(features @ weight.T))


def test_inside_the_principal_space_only_the_energy_is_left():
    weight = np.array([[1.0, -1.0], [0.5, 2.0], [0.0, 0.0]])
    train = VirtualLogit(Head(weight, np.zeros(2)), np.eye(3)[:, 2:], alpha=5.0)
    inside = np.array([[3.0, -2.0, 0.0]])
    np.testing.assert_allclose(vim(inside, train), np.logaddexp.reduce(inside @ weight, axis=1))
    np.testing.assert_allclose(vim(inside + np.array([0, 0, 2.0]), train), vim(inside, train) - 10)


def test_the_virtual_logit_has_the_mean_of_the_largest_logit():
    features, weight, bias = network()
    logits = features @ weight.T + bias
    train = fit_vim(features, logits, dim=6)
    norms = np.linalg.norm((features - train.head.origin) @ train.residual, axis=1)
    assert train.residual.shape == (12, 6)
    assert train.alpha * norms.mean() == pytest.approx(logits.max(axis=1).mean())
    np.testing.assert_allclose(train.residual.T @ train.residual, np.eye(6), atol=1e-12)


def test_the_dimension_is_half_of_the_features_by_default():
    features, weight, bias = network()
    logits = features @ weight.T + bias
    np.testing.assert_array_equal(vim(features, fit_vim(features, logits)), vim(features, fit_vim(features, logits, 6)))


def test_what_has_no_residual_or_no_positive_level_is_undefined():
    features, weight, bias = network()
    logits = features @ weight.T + bias
    with pytest.raises(UndefinedScoreError, match="12 dimensions leaves no residual of 12"):
        fit_vim(features, logits, 12)
    with pytest.raises(UndefinedScoreError, match="not positive"):
        fit_vim(features, logits - 1000)
    with pytest.raises(UndefinedScoreError, match="1 training items"):
        fit_vim(features[:1], logits[:1])
    flat = features[:, :3] @ np.ones((3, 12)) * np.arange(1, 13)
    with pytest.raises(UndefinedScoreError, match="lie in 6 dimensions"):
        fit_vim(flat, flat[:, :2])


@pytest.mark.peer
def test_agreement_with_pytorch_ood():
    """Theirs computes in float32."""
    torch = pytest.importorskip("torch")
    detectors = pytest.importorskip("pytorch_ood.detector")
    features, weight, bias = network()
    bias = bias + 5
    logits = features @ weight.T + bias
    detector = detectors.ViM(None, d=6, w=torch.from_numpy(weight), b=torch.from_numpy(bias))
    detector.fit_features(torch.from_numpy(features), torch.zeros(len(features), dtype=torch.long))
    items = network(seed=1)[0][:50]
    theirs = -detector.predict_features(torch.from_numpy(items)).numpy()
    np.testing.assert_allclose(theirs, vim(items, fit_vim(features, logits, 6)), rtol=1e-3, atol=1e-3)
