from __future__ import annotations

import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_models.centers import check_published, max_mahalanobis_centers

authors = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "weights" / "authors.py")))


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


class TestPublished:
    """The recursion as the authors' code runs it, in float32, against exact centers."""

    @pytest.mark.parametrize(
        ("num_classes", "dim"),
        [(2, 64), (3, 2), (3, 64), (5, 64), (10, 9), (10, 10), (10, 64), (10, 640), (20, 640), (43, 128), (100, 640)],
    )
    @pytest.mark.parametrize("scale", [1.0, 10.0])
    def test_float32_explains_them(self, num_classes: int, dim: int, scale: float) -> None:
        given = authors.centers(num_classes, dim, scale)
        facts = check_published(given, scale)
        exact = max_mahalanobis_centers(num_classes, dim, scale)
        assert facts["max_difference"] == float((given.double() - exact).abs().max())
        assert facts["norm_min"] == pytest.approx(scale, rel=1e-5)
        assert facts["norm_max"] == pytest.approx(scale, rel=1e-5)
        assert facts["cosine_exact"] == -1 / (num_classes - 1)
        assert facts["cosine_min"] == pytest.approx(facts["cosine_exact"], abs=1e-6)
        assert facts["cosine_max"] == pytest.approx(facts["cosine_exact"], abs=1e-6)

    @pytest.mark.parametrize(("num_classes", "last"), [(10, 0.006), (100, 0.010)])
    def test_the_last_diagonal_entry_is_the_root_of_a_rounding_error(self, num_classes: int, last: float) -> None:
        """It is the largest difference by far, and leaves all inner products and distances alone."""
        given = authors.centers(num_classes, 640)
        facts = check_published(given)
        assert facts["last_diagonal"] == pytest.approx(last, abs=5e-4)
        assert facts["max_difference"] == facts["last_diagonal"]
        rest = (given.double() - max_mahalanobis_centers(num_classes, 640)).abs()
        rest[-1, num_classes - 1] = 0
        assert rest.max() < 1e-5
        distances = torch.cdist(given.double(), given.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
        off = ~torch.eye(num_classes, dtype=torch.bool)
        expected = torch.full_like(distances[off], 200 * num_classes / (num_classes - 1))
        torch.testing.assert_close(distances[off], expected, rtol=0, atol=3e-4)

    @pytest.mark.parametrize("num_classes", [2, 10, 100])
    def test_exact_ones_pass(self, num_classes: int) -> None:
        assert check_published(max_mahalanobis_centers(num_classes, 128).float())["max_difference"] < 1e-6

    @pytest.mark.parametrize("entry", [(9, 9, 0.05), (9, 8, 1e-3), (0, 0, 1e-3), (3, 20, 1e-3), (2, 2, math.nan)])
    def test_what_float32_does_not_explain(self, entry: tuple[int, int, float]) -> None:
        given = authors.centers()
        row, column, change = entry
        given[row, column] += change
        message = "not all finite" if math.isnan(change) else rf"entry \[{row}, {column}\] differs by"
        with pytest.raises(ValueError, match=message):
            check_published(given)

    def test_another_norm_is_told_with_its_value(self) -> None:
        with pytest.raises(ValueError, match=r"with S = 10: norms 5 to 5, pairwise cosines -0.1111 to -0.1111 \(exact"):
            check_published(authors.centers(scale=5.0))
