from __future__ import annotations

import math

import pytest
import torch
from bench_models.centers import max_mahalanobis_centers
from hypothesis import given, settings
from hypothesis import strategies as st


def literal_algorithm_2(num_classes: int, dim: int, scale: float) -> list[list[float]]:
    """The recursion as printed, with the absolute value that keeps the last radicand from being negative."""
    mu = [[0.0] * dim for _ in range(num_classes)]
    mu[0][0] = 1.0
    for i in range(1, num_classes):
        for j in range(i):
            inner = sum(a * b for a, b in zip(mu[i], mu[j], strict=True))
            mu[i][j] = -(1 + inner * (num_classes - 1)) / (mu[j][j] * (num_classes - 1))
        mu[i][i] = math.sqrt(abs(1 - sum(a * a for a in mu[i])))
    return [[scale * a for a in row] for row in mu]


@pytest.mark.parametrize(("num_classes", "inner", "squared_distance"), [(10, -11.111, 222.22), (100, -1.0101, 202.02)])
def test_published_geometry(num_classes: int, inner: float, squared_distance: float) -> None:
    centers = max_mahalanobis_centers(num_classes, 640)
    assert centers.shape == (num_classes, 640)
    assert centers.dtype == torch.float64
    gram = centers @ centers.T
    off = ~torch.eye(num_classes, dtype=torch.bool)
    torch.testing.assert_close(gram.diagonal(), torch.full((num_classes,), 100.0, dtype=torch.float64))
    assert gram[off].min().item() == pytest.approx(inner, abs=1e-3)
    assert gram[off].max().item() == pytest.approx(inner, abs=1e-3)
    distances = torch.cdist(centers, centers, compute_mode="donot_use_mm_for_euclid_dist").square()[off]
    assert distances.min().item() == pytest.approx(squared_distance, abs=5e-3)
    assert distances.max().item() == pytest.approx(squared_distance, abs=5e-3)
    assert centers.sum(0).abs().max() < 1e-12
    assert centers.any(0).sum() == num_classes - 1


@pytest.mark.parametrize(("num_classes", "coordinate", "lowest"), [(10, 8, -7.454), (100, 98, -7.107)])
def test_most_negative_coordinate(num_classes: int, coordinate: int, lowest: float) -> None:
    centers = max_mahalanobis_centers(num_classes, 640)
    assert centers.min().item() == pytest.approx(lowest, abs=1e-3)
    assert centers.min(0).values.argmin() == coordinate


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 2), (3, 5), (10, 64), (26, 26)])
def test_solves_the_printed_recursion(num_classes: int, dim: int) -> None:
    expected = torch.tensor(literal_algorithm_2(num_classes, dim, 3.0), dtype=torch.float64)
    # The recursion's last diagonal entry is the root of a rounding error, about 1e-8 times the scale.
    torch.testing.assert_close(max_mahalanobis_centers(num_classes, dim, 3.0), expected, rtol=1e-10, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    num_classes=st.integers(2, 60),
    spare=st.integers(0, 20),
    scale=st.floats(1e-3, 1e3),
)
def test_simplex_for_any_size(num_classes: int, spare: int, scale: float) -> None:
    centers = max_mahalanobis_centers(num_classes, num_classes - 1 + spare, scale)
    gram = (centers / scale) @ (centers / scale).T
    expected = torch.full((num_classes, num_classes), -1 / (num_classes - 1), dtype=torch.float64)
    expected.fill_diagonal_(1.0)
    torch.testing.assert_close(gram, expected, rtol=0, atol=1e-12)
    assert (centers.sum(0) / scale).abs().max() < 1e-11
    assert not centers[:, num_classes - 1 :].any()
    # Lower triangular with a positive diagonal: the orientation of Algorithm 2, not just any simplex.
    assert not centers.triu(1).any()
    assert (centers.diagonal()[: num_classes - 1] > 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((100, 64), r"100 .* at least 99 feature dimensions \(C <= d \+ 1\), got 64"),
        ((1, 64), "at least 2 classes"),
        ((10, 64, 0.0), "scale must be positive"),
        ((10, 64, math.inf), "scale must be positive and finite"),
    ],
)
def test_errors(arguments: tuple[int, int] | tuple[int, int, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        max_mahalanobis_centers(*arguments)
