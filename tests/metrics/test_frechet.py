from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics.frechet import GaussianStats, frechet_distance

seeds = st.integers(0, 10_000)


def stats(mean, covariance):
    return GaussianStats(1000, np.asarray(mean, dtype=float), np.asarray(covariance, dtype=float))


def random_covariance(generator, d):
    factor = generator.normal(size=(d, 2 * d))
    return factor @ factor.T / d


def random_rotation(generator, d):
    return np.linalg.qr(generator.normal(size=(d, d)))[0]


@given(seeds)
def test_diagonal_covariances(seed):
    generator = np.random.default_rng(seed)
    m_a, m_b = generator.normal(size=(2, 6))
    a, b = generator.uniform(0, 4, size=(2, 6))
    expected = ((m_a - m_b) ** 2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(stats(m_a, np.diag(a)), stats(m_b, np.diag(b))) == pytest.approx(expected, rel=1e-9)


@given(seeds, st.floats(0.1, 10))
def test_scaled_covariance(seed, c):
    generator = np.random.default_rng(seed)
    covariance = random_covariance(generator, 5)
    shift = generator.normal(size=5)
    expected = shift @ shift + (1 - c) ** 2 * np.trace(covariance)
    distance = frechet_distance(stats(np.zeros(5), covariance), stats(shift, c**2 * covariance))
    assert distance == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(seeds)
def test_two_dimensions(seed):
    generator = np.random.default_rng(seed)
    A, B = random_covariance(generator, 2), random_covariance(generator, 2)
    trace_of_root = np.sqrt(np.trace(A @ B) + 2 * np.sqrt(np.linalg.det(A) * np.linalg.det(B)))
    expected = np.trace(A) + np.trace(B) - 2 * trace_of_root
    assert frechet_distance(stats([0, 0], A), stats([0, 0], B)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.0, np.pi / 2, 2.5])
def test_rank_one_covariances(angle):
    u, v = np.array([1.0, 0, 0]), np.array([np.cos(angle), np.sin(angle), 0])
    distance = frechet_distance(stats(np.zeros(3), np.outer(u, u)), stats(np.zeros(3), np.outer(v, v)))
    assert distance == pytest.approx(2 - 2 * abs(np.cos(angle)), abs=1e-7)


def test_orthogonal_supports():
    a, b = np.diag([2.0, 3.0, 0, 0]), np.diag([0, 0, 5.0, 7.0])
    assert frechet_distance(stats(np.zeros(4), a), stats(np.zeros(4), b)) == pytest.approx(17.0)


@pytest.mark.parametrize(("n_a", "n_b", "d"), [(60, 90, 20), (15, 20, 40)], ids=["full rank", "rank deficient"])
def test_the_trace_term_is_the_nuclear_norm_of_the_product_of_centred_features(n_a, n_b, d):
    generator = np.random.default_rng(0)
    features_a, features_b = generator.normal(size=(n_a, d)), 1.5 * generator.normal(size=(n_b, d)) + 0.3
    A, B = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (features_a, features_b))
    nuclear_norm = np.linalg.svd(A @ B.T, compute_uv=False).sum()
    shift = features_a.mean(axis=0) - features_b.mean(axis=0)
    expected = shift @ shift + (A**2).sum() + (B**2).sum() - 2 * nuclear_norm
    a, b = GaussianStats.from_features(features_a), GaussianStats.from_features(features_b)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-7)


@given(seeds)
def test_symmetry_and_invariance(seed):
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(30, 5)), generator.normal(size=(25, 5)) * generator.uniform(0.5, 2, 5) + 1
    fit = GaussianStats.from_features
    distance = frechet_distance(fit(x), fit(y))
    assert frechet_distance(fit(y), fit(x)) == pytest.approx(distance, rel=1e-9)
    rotation, shift = random_rotation(generator, 5), generator.normal(size=5)
    moved = frechet_distance(fit(x @ rotation + shift), fit(y @ rotation + shift))
    assert moved == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(fit(3 * x), fit(3 * y)) == pytest.approx(9 * distance, rel=1e-9)


@pytest.mark.parametrize("n", [40, 100, 300])
def test_the_distance_of_a_set_to_itself_is_zero_and_never_negative(n):
    a = GaussianStats.from_features(np.random.default_rng(0).normal(size=(n, 128)))
    assert 0 <= frechet_distance(a, a) < 1e-5


@pytest.mark.parametrize(("d", "n", "repetitions"), [(16, 2000, 150), (64, 5000, 8)])
def test_the_bias_of_two_samples_of_one_gaussian(d, n, repetitions):
    generator = np.random.default_rng(0)
    distances = [
        frechet_distance(
            GaussianStats.from_features(generator.normal(size=(n, d))),
            GaussianStats.from_features(generator.normal(size=(n, d))),
        )
        for _ in range(repetitions)
    ]
    expected = (2 * d + d * (d + 1) / 2) / n
    # The formula is of first order: the next term is a share of about d / n.
    slack = 4 * np.std(distances, ddof=1) / np.sqrt(repetitions) + expected * d / n
    assert np.mean(distances) == pytest.approx(expected, abs=slack)
    assert slack < 0.06 * expected


@settings(max_examples=5)
@given(seeds)
def test_statistics_are_those_of_numpy_also_over_several_chunks(seed):
    features = np.random.default_rng(seed).normal(size=(9001, 3))
    result = GaussianStats.from_features(features)
    np.testing.assert_allclose(result.mean, features.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(result.covariance, np.cov(features, rowvar=False), rtol=1e-12, atol=1e-14)


def test_float32_features_are_summed_in_float64():
    # A mean far from zero loses the covariance in float32 sums.
    features = (np.random.default_rng(0).normal(size=(5000, 8)) + 300).astype(np.float32)
    result, exact = (
        GaussianStats.from_features(features),
        GaussianStats.from_features(features.astype(np.float64)),
    )
    assert result.mean.dtype == result.covariance.dtype == np.float64
    np.testing.assert_allclose(result.covariance, exact.covariance, rtol=1e-12, atol=1e-14)
    assert frechet_distance(result, exact) < 1e-12


def test_agreement_with_torchmetrics():
    torch = pytest.importorskip("torch")
    fid_module = pytest.importorskip("torchmetrics.image.fid")

    class Flatten(torch.nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1)

    generator = np.random.default_rng(0)
    x = generator.uniform(size=(80, 3, 2, 2)).astype(np.float32)
    y = generator.uniform(size=(90, 3, 2, 2)).astype(np.float32) ** 2
    fid = fid_module.FrechetInceptionDistance(feature=Flatten(), normalize=True, input_img_size=(3, 2, 2))
    fid.update(torch.from_numpy(x), real=True)
    fid.update(torch.from_numpy(y), real=False)
    a, b = (GaussianStats.from_features(images.reshape(-1, 12)) for images in (x, y))
    assert frechet_distance(a, b) == pytest.approx(float(fid.compute()), rel=1e-5)


def test_bad_statistics_are_refused():
    with pytest.raises(ValueError, match="at least 2 feature vectors, got 1"):
        GaussianStats.from_features([[1.0, 2.0]])
    with pytest.raises(ValueError, match="at least 2 feature vectors, got 1"):
        GaussianStats(1, np.zeros(2), np.eye(2))
    with pytest.raises(ValueError, match=r"shape \(n, d\)"):
        GaussianStats.from_features([1.0, 2.0])
    with pytest.raises(ValueError, match="finite, got 2 of 4"):
        GaussianStats.from_features([[np.nan, 1.0], [np.inf, 2.0]])
    with pytest.raises(ValueError, match="mean must be finite"):
        GaussianStats(5, np.array([np.nan, 0]), np.eye(2))
    with pytest.raises(ValueError, match="symmetric"):
        GaussianStats(5, np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(ValueError, match=r"\(d,\) and \(d, d\)"):
        GaussianStats(5, np.zeros(3), np.eye(2))


def test_different_dimensions_are_refused():
    a, b = stats(np.zeros(2), np.eye(2)), stats(np.zeros(3), np.eye(3))
    with pytest.raises(ValueError, match="one dimension, got 2 and 3"):
        frechet_distance(a, b)
