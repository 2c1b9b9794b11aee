from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from bench.metrics import neighbours
from bench.metrics.neighbours import nearest_neighbours, neighbour_radii


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(2, 9))
def test_neighbours_are_those_of_the_whole_matrix_in_blocks_of_any_size(seed, k, rows):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(11, 3)), generator.normal(size=(13, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_ROWS", rows)
        indices, distances = nearest_neighbours(a, b, k=k)
    whole = cdist(a, b)
    np.testing.assert_array_equal(indices, whole.argsort(axis=1)[:, :k])
    np.testing.assert_allclose(distances, np.sort(whole, axis=1)[:, :k], rtol=1e-13)


def test_a_memorised_row_has_the_distance_zero_however_far_the_cloud_lies_from_the_origin():
    rows = (np.random.default_rng(0).normal(size=(300, 64)) + 1e4).astype(np.float32)
    indices, distances = nearest_neighbours(rows[::7], rows)
    np.testing.assert_array_equal(indices[:, 0], np.arange(300)[::7])
    assert (distances == 0).all()


def test_of_equally_distant_rows_the_first_counts(monkeypatch):
    monkeypatch.setattr(neighbours, "_ROWS", 2)
    reference = [[1.0], [-1.0], [1.0], [3.0]]
    assert nearest_neighbours([[0.0]], reference, k=3)[0].tolist() == [[0, 1, 2]]
    assert nearest_neighbours([[0.0]], reference)[0].tolist() == [[0]]


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_radii_leave_out_the_row_itself_but_not_its_duplicates(seed, k):
    rows = np.random.default_rng(seed).integers(0, 3, size=(12, 2)).astype(float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_BLOCK", 40)
        radii = neighbour_radii(rows, k)
    whole = cdist(rows, rows, "sqeuclidean")
    expected = [np.sort(np.delete(whole[i], i))[k - 1] for i in range(12)]
    np.testing.assert_allclose(radii, expected, atol=1e-12)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="k must lie in 1 … 2"):
        nearest_neighbours([[0.0]], [[1.0], [2.0]], k=3)
    with pytest.raises(ValueError, match=r"shapes \(n, d\) and \(m, d\)"):
        nearest_neighbours([[0.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="reference"):
        nearest_neighbours([[0.0]], [[np.nan]])
    with pytest.raises(ValueError, match="k must lie in 1 … n - 1 = 1"):
        neighbour_radii([[0.0], [1.0]], 2)


def test_distances_of_a_cloud_far_from_the_origin_are_those_of_the_cloud():
    """Squared norms of 1e7 cancel: in float32 nothing of the distances of order 1 would be left."""
    rows = np.random.default_rng(0).normal(size=(60, 8))
    np.testing.assert_allclose(neighbour_radii(rows + 1000, 3), neighbour_radii(rows, 3), rtol=1e-6)
