from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from bench.metrics import neighbours
from bench.metrics.precision_recall import prdc


def brute(real, samples, k, rule):
    """The definitions, from whole matrices of distances."""
    inside = np.less if rule == "<" else np.less_equal
    cross = cdist(real, samples, "sqeuclidean")
    radii = [
        np.array([np.sort(np.delete(row, i))[k - 1] for i, row in enumerate(cdist(rows, rows, "sqeuclidean"))])
        for rows in (real, samples)
    ]
    in_real, in_samples = inside(cross, radii[0][:, None]), inside(cross, radii[1])
    return [in_real.any(0).mean(), in_samples.any(1).mean(), in_real.sum(0).mean() / k, in_real.any(1).mean()]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from(["<", "<="]), st.booleans())
def test_definitions_by_brute_force_with_ties_and_duplicates(seed, k, rule, whole_numbers):
    generator = np.random.default_rng(seed)
    real, samples = generator.normal(size=(17, 2)), 0.7 * generator.normal(size=(12, 2)) + 0.4
    if whole_numbers:
        real, samples = np.round(2 * real), np.round(2 * samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_BLOCK", 50)
        found = prdc(real, samples, k=k, rule=rule)
    assert [found.precision, found.recall, found.density, found.coverage] == pytest.approx(
        brute(real, samples, k, rule)
    )


def test_by_hand_on_a_line():
    """Real balls: 0 and 1 of radius 1, 4 of radius 3. Sample balls: 0.5 and 1.5 of radius 1, 6 of radius 4.5."""
    real, samples = [[0.0], [1.0], [4.0]], [[0.5], [1.5], [6.0]]
    found = prdc(real, samples, k=1)
    # 0.5 lies in the balls of 0 and 1, 1.5 in those of 1 and 4, and 6 in that of 4.
    assert (found.precision, found.density, found.coverage) == (1.0, 5 / 3, 1.0)
    assert found.recall == 1.0
    # At exactly the distance of the radius: outside for <, inside for <=. 7 has the distance 3 from 4.
    edge = [[7.0], [7.5], [9.0]]
    assert prdc(real, edge, k=1).precision == 0.0
    assert prdc(real, edge, k=1, rule="<=").precision == 1 / 3


def test_duplicates_have_balls_of_radius_zero():
    """Of two equal real items each is the nearest of the other: a sample at the same place is not inside by <."""
    real, samples = [[0.0], [0.0], [4.0], [5.0]], [[0.0], [50.0], [51.0]]
    assert prdc(real, samples, k=1).coverage == 0.0
    assert prdc(real, samples, k=1, rule="<=").coverage == 0.5


@pytest.mark.parametrize("rule", ["<", "<="])
def test_identical_sets_and_far_clusters(rule):
    rows = np.random.default_rng(0).normal(size=(200, 5)) + 30
    same = prdc(rows, rows.copy(), k=5, rule=rule)
    assert (same.precision, same.recall, same.coverage) == (1.0, 1.0, 1.0)
    assert same.density >= 1.0
    far = prdc(rows, rows + 1000, k=5, rule=rule)
    assert (far.precision, far.recall, far.density, far.coverage) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(("shift", "scale"), [(1e6, 1e-3), (-1e5, 1e-4), (0.0, 1e-9)])
def test_a_cloud_far_from_the_origin_is_that_cloud(shift, scale):
    """Of features 1e6 + 1e-3 x the square of a distance is 1e-18 of the squared norms, below rounding."""
    generator = np.random.default_rng(0)
    real, samples = generator.normal(size=(80, 6)), 0.8 * generator.normal(size=(70, 6))
    assert prdc(shift + scale * real, shift + scale * samples, k=3) == prdc(real, samples, k=3)


def test_two_clouds_far_from_each_other_keep_their_own_distances():
    generator = np.random.default_rng(0)
    rows = 1e-3 * generator.normal(size=(90, 4)) + 1e6 * (np.arange(90) % 2)[:, None]
    real, samples = rows[:50], rows[50:]
    found = prdc(real, samples, k=3)
    assert [found.precision, found.recall, found.density, found.coverage] == pytest.approx(brute(real, samples, 3, "<"))
    assert found.precision < 1


def test_centring_breaks_no_ties():
    """Whole numbers far from the origin: the distance of a sample equals the radius of a ball exactly."""
    grid = np.stack(np.meshgrid(np.arange(7.0), np.arange(7.0)), axis=-1).reshape(-1, 2) + 1e6 + 3
    for rule in ("<", "<="):
        found = prdc(grid, grid[::2] + 1, k=4, rule=rule)
        assert [found.precision, found.recall, found.density, found.coverage] == pytest.approx(
            brute(grid, grid[::2] + 1, 4, rule)
        )


def test_expectations_under_equality():
    """Density 1 and coverage 1 - 2^-k (Naeem et al. 2020, section 3.2 and lemma 2), here for k = 3."""
    generator = np.random.default_rng(0)
    found = [prdc(generator.normal(size=(400, 3)), generator.normal(size=(400, 3)), k=3) for _ in range(20)]
    assert np.mean([one.density for one in found]) == pytest.approx(1.0, abs=0.02)
    assert np.mean([one.coverage for one in found]) == pytest.approx(1 - 2**-3, abs=0.01)


@pytest.mark.peer
def test_the_package_prdc():
    peer = pytest.importorskip("prdc")
    generator = np.random.default_rng(0)
    real, samples = generator.normal(size=(120, 8)), 0.8 * generator.normal(size=(90, 8)) + 0.2
    for k in (1, 3, 5):
        expected = peer.compute_prdc(real, samples, nearest_k=k)
        found = prdc(real, samples, k=k)
        assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=1e-12)


@pytest.mark.peer
def test_torch_fidelity():
    """It takes <=, and the samples first; precision and recall alone."""
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torch_fidelity.metric_prc")
    generator = np.random.default_rng(0)
    real, samples = generator.normal(size=(120, 8)), 0.8 * generator.normal(size=(90, 8)) + 0.2
    expected = peer.prc_features_to_metric(
        torch.from_numpy(samples), torch.from_numpy(real), prc_neighborhood=3, prc_batch_size=64, verbose=False
    )
    found = prdc(real, samples, k=3, rule="<=")
    assert found.precision == pytest.approx(expected[peer.KEY_METRIC_PRECISION])
    assert found.recall == pytest.approx(expected[peer.KEY_METRIC_RECALL])


def test_bad_arguments_are_refused():
    rows = np.zeros((5, 2)) + np.arange(5)[:, None]
    with pytest.raises(ValueError, match="below both set sizes, 5 and 3; got 3"):
        prdc(rows, rows[:3], k=3)
    with pytest.raises(ValueError, match="at least 1"):
        prdc(rows, rows, k=0)
    with pytest.raises(ValueError, match="one dimension, got 2 and 1"):
        prdc(rows, rows[:, :1])
    with pytest.raises(ValueError, match="rule must be"):
        prdc(rows, rows, k=1, rule="==")
    with pytest.raises(ValueError, match="finite"):
        prdc(rows, np.full((5, 2), np.inf), k=1)
