from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics.frechet import GaussianStats, frechet_distance, frechet_infinity

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


def test_statistics_survive_a_file_and_pytorch_fid_reads_it(tmp_path):
    inside = GaussianStats.from_features(np.random.default_rng(0).normal(size=(50, 4)))
    inside.save(tmp_path / "stats.npz")
    back = GaussianStats.load(tmp_path / "stats.npz")
    assert back.n == 50
    np.testing.assert_array_equal(back.mean, inside.mean)
    np.testing.assert_array_equal(back.covariance, inside.covariance)
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    mean, covariance = fid_score.compute_statistics_of_path(str(tmp_path / "stats.npz"), None, 1, 4, "cpu")
    np.testing.assert_array_equal(mean, inside.mean)
    np.testing.assert_array_equal(covariance, inside.covariance)


def test_a_file_of_pytorch_fid_has_no_n_and_none_is_made_up(tmp_path):
    np.savez_compressed(tmp_path / "theirs.npz", mu=np.zeros(3), sigma=np.eye(3))
    back = GaussianStats.load(tmp_path / "theirs.npz")
    assert back.n is None
    back.save(tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz") as arrays:
        assert set(arrays) == {"mu", "sigma"}
    other = GaussianStats(9, np.ones(3), np.eye(3))
    assert frechet_distance(back, other) == frechet_distance(other, back) == pytest.approx(3.0)


def test_files_that_are_no_statistics_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", mu=np.zeros(3))
    with pytest.raises(ValueError, match="there is no sigma"):
        GaussianStats.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", mu=np.zeros(3), sigma=np.eye(3), n=np.array([3.5]))
    with pytest.raises(ValueError, match="n must be one whole number"):
        GaussianStats.load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", mu=np.array([None]), sigma=np.eye(1))
    with pytest.raises(ValueError, match="allow_pickle"):
        GaussianStats.load(tmp_path / "c.npz")
    np.save(tmp_path / "d.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"no \.npz archive"):
        GaussianStats.load(tmp_path / "d.npy")
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        GaussianStats(2, np.zeros(1), np.eye(1)).save(tmp_path / "stats")


def test_the_extrapolated_distance_loses_the_bias_of_the_samples():
    """Reference and samples from one Gaussian of 32 dimensions: 1/n times (2d + d(d+1)/2) / 2 for one finite set."""
    standard = GaussianStats(None, np.zeros(32), np.eye(32))
    generator = np.random.default_rng(0)
    plain, extrapolated = [], []
    for seed in range(12):
        features = generator.normal(size=(2000, 32))
        plain.append(frechet_distance(standard, GaussianStats.from_features(features)))
        extrapolated.append(frechet_infinity(standard, features, seed=seed))
    assert np.mean(plain) > 0.12
    assert abs(np.mean(extrapolated)) < 0.1 * np.mean(plain)
    shift = np.full(32, 0.25)
    moved = [
        frechet_infinity(standard, generator.normal(size=(2000, 32)) + shift, seed=seed, points=8, least=400)
        for seed in range(12)
    ]
    assert np.mean(moved) == pytest.approx(2.0, abs=0.05)


def test_an_exact_line_in_one_over_n_is_extrapolated_exactly(monkeypatch):
    from bench.metrics import frechet

    monkeypatch.setattr(frechet, "frechet_distance", lambda _, stats: 3.0 + 40.0 / stats.n)
    features = np.random.default_rng(0).normal(size=(500, 2))
    found = frechet.frechet_infinity(GaussianStats(None, np.zeros(2), np.eye(2)), features, points=5)
    assert found == pytest.approx(3.0, abs=1e-9)


def test_impossible_extrapolations_are_refused():
    standard = GaussianStats(None, np.zeros(2), np.eye(2))
    with pytest.raises(ValueError, match="points must be at least 2"):
        frechet_infinity(standard, np.zeros((9, 2)), points=1)
    with pytest.raises(ValueError, match="least must lie in 2 … n - 1 = 8"):
        frechet_infinity(standard, np.zeros((9, 2)), least=9)


@pytest.mark.peer
def test_agreement_with_torch_fidelity_from_equal_features():
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torch_fidelity.metric_fid")
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(80, 12)), 0.5 * generator.normal(size=(90, 12)) + 0.2
    a, b = (peer.fid_features_to_statistics(torch.from_numpy(rows)) for rows in (x, y))
    expected = peer.fid_statistics_to_metric(a, b, False)[peer.KEY_METRIC_FID]
    ours = [GaussianStats.from_features(rows) for rows in (x, y)]
    assert frechet_distance(*ours) == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(ours[0].covariance, a["sigma"], rtol=1e-10)
