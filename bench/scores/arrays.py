"""Validation of the arrays that scores get, and their conversion to float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["FloatArray", "finite_rows", "one_an_item"]

FloatArray = npt.NDArray[np.float64]


def one_an_item(name: str, values: npt.ArrayLike) -> FloatArray:
    """One value per item, as a copy in float64; infinities are kept.

    Raises:
        ValueError: If the shape is not (n,), or a value is NaN.

    >>> one_an_item("norms", [1, 2])
    array([1., 2.])
    """
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must have shape (n,), got {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"{name} must not be NaN, got {int(np.isnan(array).sum())} NaN of {array.size} values")
    return array


def finite_rows(name: str, values: npt.ArrayLike, *, columns: int = 1) -> FloatArray:
    """One row per item, as a copy in float64.

    Args:
        name: Name of the values in an error, whose plural is the same.
        values: Shape (n, m).
        columns: The smallest allowed m.

    Raises:
        ValueError: If the shape is not (n, m) with m >= ``columns``, or a value is not finite.

    >>> finite_rows("features", [[1, 2]])
    array([[1., 2.]])
    """
    array = np.array(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] < columns:
        what = "K" if name == "logits" else "d"
        raise ValueError(f"{name} must have shape (n, {what}) with {what} >= {columns}, got {array.shape}")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ValueError(f"{name} must be finite, got {bad} of {array.size} values that are not")
    return array
