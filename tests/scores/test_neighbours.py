from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bench.scores.neighbours
from bench.scores.neighbours import NearestNeighbours, knn
from bench.scores.spec import UndefinedScoreError


def brute_force(features, train, k):
    unit = [np.asarray(rows, float) / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (features, train)]
    distances = np.linalg.norm(unit[0][:, None] - unit[1][None], axis=2)
    return -np.sort(distances, axis=1)[:, k - 1]


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_it_is_the_distance_to_the_kth_neighbour(seed, k):
    generator = np.random.default_rng(seed)
    features, train = generator.normal(size=(9, 4)), generator.normal(size=(12, 4))
    np.testing.assert_allclose(knn(features, train, k), brute_force(features, train, k), rtol=1e-12)


def test_blocks_of_items_change_nothing(monkeypatch):
    generator = np.random.default_rng(0)
    features, train = generator.normal(size=(30, 5)), generator.normal(size=(40, 5))
    whole = knn(features, train, 3)
    monkeypatch.setattr(bench.scores.neighbours, "_CELLS", 100)
    np.testing.assert_array_equal(knn(features, train, 3), whole)


def test_small_distances_keep_their_digits():
    """A tight cluster of float32 features far from the origin: 2 - 2 <z, z'> in float32 gives distances like 3e-4."""
    generator = np.random.default_rng(0)
    cluster = (10 + 1e-5 * generator.normal(size=(60, 32))).astype(np.float32)
    found = knn(cluster, cluster, 2)
    np.testing.assert_allclose(found, brute_force(cluster.astype(float), cluster.astype(float), 2), rtol=1e-9)
    np.testing.assert_array_equal(knn(cluster, cluster, 1), np.zeros(60))
    unit = cluster / np.linalg.norm(cluster, axis=1, keepdims=True)
    rounded = np.sqrt(np.abs(np.sort(2 - 2 * unit @ unit.T, axis=1)[:, 1]))
    assert np.abs(rounded + found).max() > 10 * np.abs(found).max()


def test_the_length_of_features_does_not_matter():
    generator = np.random.default_rng(0)
    features, train = generator.normal(size=(9, 4)), generator.normal(size=(12, 4))
    for scale in (1e-200, 1e200):
        np.testing.assert_allclose(knn(scale * features, train, 2), knn(features, train, 2), rtol=1e-12)


def test_features_of_zero_have_distance_one_to_every_direction():
    np.testing.assert_array_equal(knn([[0.0, 0.0]], [[3.0, 0.0], [0.0, -2.0]], 2), [-1.0])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"k must lie in 1 … 2"):
        knn([[1.0]], [[1.0], [2.0]], 3)
    with pytest.raises(ValueError, match="features must have 1 columns as train has, got 2"):
        knn([[1.0, 2.0]], [[1.0]], 1)
    with pytest.raises(ValueError, match="train must be finite"):
        knn([[1.0]], [[np.inf]], 1)


def test_fewer_training_items_than_k_leave_the_score_undefined():
    with pytest.raises(UndefinedScoreError, match="k = 50 neighbours of 3 training items"):
        NearestNeighbours().fit({"features": np.ones((3, 2)), "labels": np.zeros(3)})


@pytest.mark.peer
def test_agreement_with_pytorch_ood():
    torch = pytest.importorskip("torch")
    detector = pytest.importorskip("pytorch_ood.detector").KNN(None, k=7)
    generator = np.random.default_rng(0)
    train, items = generator.normal(size=(100, 6)), generator.normal(size=(40, 6))
    detector.fit_features(torch.from_numpy(train), torch.zeros(100, dtype=torch.long))
    theirs = -detector.predict_features(torch.from_numpy(items)).numpy()
    np.testing.assert_allclose(theirs, knn(items, train, 7), rtol=1e-9)
