from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from bench.metrics.inception_score import inception_score


def random_log_probs(seed, n, classes, scale=2.0):
    return log_softmax(np.random.default_rng(seed).normal(scale=scale, size=(n, classes)), axis=1)


def test_uniform_predictions_score_one():
    assert inception_score(np.log(np.full((6, 4), 0.25))) == (pytest.approx(1.0), 0.0)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_certain_and_balanced_predictions_score_the_number_of_classes(classes):
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.tile(np.eye(classes), (3, 1)))
    assert inception_score(log_probs)[0] == pytest.approx(classes)


@pytest.mark.parametrize("gap", [5.0, 120.0, 800.0, 1e5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_clusters_score_two_however_far_the_other_classes_are(gap, dtype):
    # At a gap of 800 the third column underflows to exactly 0, where p (log p - log q) would be NaN.
    logits = np.array([[0.0, -gap, -gap], [-gap, 0.0, -gap]])
    p = np.exp(log_softmax(logits, axis=1))
    kl = np.where(p > 0, p * (np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(p.mean(0), 1e-300))), 0).sum(1).mean()
    assert inception_score(log_softmax(logits, axis=1).astype(dtype))[0] == pytest.approx(np.exp(kl), rel=1e-6)
    if gap > 100:
        assert inception_score(log_softmax(logits, axis=1).astype(dtype))[0] == pytest.approx(2.0)


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 8))
def test_the_score_is_the_exponential_of_the_mean_divergence_and_is_bounded(seed, n, classes):
    log_probs = random_log_probs(seed, n, classes)
    p = np.exp(log_probs)
    divergence = (p * (log_probs - np.log(p.mean(axis=0)))).sum(axis=1).mean()
    score, _ = inception_score(log_probs)
    assert score == pytest.approx(np.exp(divergence), rel=1e-12)
    assert 1 <= score <= classes * (1 + 1e-12)


@given(st.integers(0, 1000))
def test_order_changes_nothing_in_one_split(seed):
    log_probs = random_log_probs(seed, 20, 5)
    order = np.random.default_rng(seed).permutation(20)
    assert inception_score(log_probs[order])[0] == pytest.approx(inception_score(log_probs)[0], rel=1e-12)


@pytest.mark.parametrize(("n", "splits", "sizes"), [(12, 3, [4, 4, 4]), (11, 3, [3, 4, 4]), (5, 5, [1] * 5)])
def test_splits_are_runs_in_the_order_given_and_use_every_item(n, splits, sizes):
    log_probs = random_log_probs(0, n, 6)
    parts = np.split(log_probs, np.cumsum(sizes)[:-1])
    scores = [inception_score(part)[0] for part in parts]
    mean, sd = inception_score(log_probs, splits=splits)
    assert mean == pytest.approx(np.mean(scores))
    assert sd == pytest.approx(np.sqrt(np.mean((np.array(scores) - np.mean(scores)) ** 2)), abs=1e-12)


def test_class_sorted_samples_in_several_splits_score_one():
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.repeat(np.eye(5), 10, axis=0))
    assert inception_score(log_probs, splits=5) == (pytest.approx(1.0), pytest.approx(0.0))
    assert inception_score(log_probs, splits=1)[0] == pytest.approx(5.0)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save:UserWarning")
def test_agreement_with_torchmetrics():
    torch = pytest.importorskip("torch")
    module = pytest.importorskip("torchmetrics.image.inception")
    logits = torch.from_numpy(np.random.default_rng(0).normal(scale=2, size=(60, 7)))
    reference = module.InceptionScore(feature=torch.nn.Identity(), splits=4)
    reference.update(logits)
    # It shuffles by the global generator and reports the sample standard deviation.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mean, sd = reference.compute()
        torch.manual_seed(0)
        order = torch.randperm(60)
    ours_mean, ours_sd = inception_score(torch.log_softmax(logits[order], dim=1).numpy(), splits=4)
    assert ours_mean == pytest.approx(float(mean), rel=1e-9)
    assert ours_sd * np.sqrt(4 / 3) == pytest.approx(float(sd), rel=1e-9)


@pytest.mark.parametrize("splits", [0, 4])
def test_impossible_splits_are_refused(splits):
    with pytest.raises(ValueError, match="splits must lie in 1 … n = 3"):
        inception_score(random_log_probs(0, 3, 2), splits=splits)


def test_logits_are_refused():
    with pytest.raises(ValueError, match="were logits passed"):
        inception_score([[3.0, 1.0]])


@pytest.mark.peer
@pytest.mark.parametrize("splits", [1, 7])
def test_agreement_with_torch_fidelity(splits):
    """From equal logits in equal order, where no probability underflows: there it gives NaN."""
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torch_fidelity.metric_isc")
    logits = torch.from_numpy(np.random.default_rng(0).normal(scale=2, size=(60, 9)))
    expected = peer.isc_features_to_metric(logits, splits=splits, shuffle=False)
    mean, sd = inception_score(torch.log_softmax(logits, dim=1).numpy(), splits=splits)
    assert mean == pytest.approx(expected[peer.KEY_METRIC_ISC_MEAN], rel=1e-12)
    assert sd == pytest.approx(expected[peer.KEY_METRIC_ISC_STD], rel=1e-9, abs=1e-12)
    far = torch.tensor([[0.0, -800.0, -800.0], [-800.0, 0.0, -800.0]], dtype=torch.float64)
    assert np.isnan(peer.isc_features_to_metric(far, splits=1, shuffle=False)[peer.KEY_METRIC_ISC_MEAN])
    assert inception_score(torch.log_softmax(far, dim=1).numpy())[0] == pytest.approx(2.0)
