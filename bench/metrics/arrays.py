"""Validation of what metrics get: arrays, which are converted to float64, and options such as a level."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

NORMALISATION_TOLERANCE = 1e-3
"""Allowed distance of a row's sum of probabilities from 1; above the rounding error of a float32 softmax."""


def vector(name: str, values: npt.ArrayLike, *, at_least: int = 1) -> FloatArray:
    """One value per item, as float64; infinities are kept.

    Args:
        name: Name of the values in an error.
        values: Shape (n,).
        at_least: The smallest allowed n.

    Raises:
        ValueError: If the shape is not (n,), n is too small, or a value is NaN.

    >>> vector("scores", [1, 2])
    array([1., 2.])
    """
    array = _real(name, values)
    if array.ndim != 1:
        raise ValueError(f"{name} must have shape (n,), got {array.shape}")
    if array.size < at_least:
        raise ValueError(f"{name} needs at least {at_least} value(s), got {array.size}")
    _reject_nan(name, array)
    return array


def finite_vector(name: str, values: npt.ArrayLike, *, at_least: int = 1) -> FloatArray:
    """As `vector`, but infinities raise a ValueError, too.

    >>> finite_vector("values", [0, np.inf])
    Traceback (most recent call last):
    ValueError: values must be finite, got 1 infinite of 2 values
    """
    array = vector(name, values, at_least=at_least)
    _reject_infinite(name, array)
    return array


def matrix(name: str, values: npt.ArrayLike) -> FloatArray:
    """One row per item, as float64; infinities are kept.

    Raises:
        ValueError: If the shape is not (n, m) with n, m >= 1, or a value is NaN.

    >>> matrix("features", [[1, 2]])
    array([[1., 2.]])
    """
    array = _real(name, values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must have shape (n, m) with n, m >= 1, got {array.shape}")
    _reject_nan(name, array)
    return array


def finite_matrix(name: str, values: npt.ArrayLike) -> FloatArray:
    """As `matrix`, but infinities raise a ValueError, too.

    >>> finite_matrix("logits", [[0, np.inf]])
    Traceback (most recent call last):
    ValueError: logits must be finite, got 1 infinite of 2 values
    """
    array = matrix(name, values)
    _reject_infinite(name, array)
    return array


def probabilities(name: str, values: npt.ArrayLike) -> FloatArray:
    """Rows of probabilities, shape (n, K), checked but not renormalised.

    Raises:
        ValueError: If a value lies outside [0, 1] or a row does not sum to one.

    >>> probabilities("probs", [[0.25, 0.75]])
    array([[0.25, 0.75]])
    """
    array = matrix(name, values)
    if array.min() < 0 or array.max() > 1 + NORMALISATION_TOLERANCE:
        raise ValueError(
            f"{name} must lie in [0, 1], got values from {array.min():.6g} to {array.max():.6g}; "
            "were logits passed instead?"
        )
    _require_unit_sums(name, array.sum(axis=1))
    return array


def log_probabilities(name: str, values: npt.ArrayLike) -> FloatArray:
    """Rows of log-probabilities, shape (n, K), checked but not renormalised; -inf is a probability of zero.

    Raises:
        ValueError: If the exponentials of a row do not sum to one.

    >>> log_probabilities("log_probs", [[0.0, -np.inf]])
    array([[  0., -inf]])
    """
    array = matrix(name, values)
    if array.max() > NORMALISATION_TOLERANCE:
        raise ValueError(f"{name} must not exceed 0, got {array.max():.6g}; were logits passed instead?")
    _require_unit_sums(name, np.exp(array).sum(axis=1))
    return array


def class_labels(values: npt.ArrayLike, items: int, classes: int) -> npt.NDArray[np.int64]:
    """Labels as int64, shape (n,), in 0 … K-1.

    Raises:
        ValueError: If they are not integers, their shape is not (items,), or one is outside the range.

    >>> class_labels([0, 2], items=2, classes=3)
    array([0, 2])
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, got {array.dtype}")
    if array.shape != (items,):
        raise ValueError(f"labels must have shape ({items},), one an item, got {array.shape}")
    if array.min() < 0 or array.max() >= classes:
        raise ValueError(f"labels must lie in 0 … {classes - 1}, got {array.min()} … {array.max()}")
    return array.astype(np.int64)


def correctness(name: str, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether each item was classified correctly, shape (n,): booleans, or numbers that are 0 or 1.

    Raises:
        ValueError: If the shape is not (n,), n is 0, or a value is neither 0 nor 1.

    >>> correctness("correct", [1, 0])
    array([ True, False])
    """
    array = vector(name, values)
    if not np.isin(array, (0.0, 1.0)).all():
        raise ValueError(f"{name} must hold booleans, or 0 and 1 only")
    return array.astype(np.bool_)


def correct_of(confidence: FloatArray, correct: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether each item with a confidence, shape (n,), was classified correctly: `correctness` of the same length.

    Raises:
        ValueError: As `correctness`, or if the lengths differ.

    >>> correct_of(np.array([0.9, 0.5]), [1, 0])
    array([ True, False])
    """
    array = correctness("correct", correct)
    if confidence.shape != array.shape:
        raise ValueError(f"confidence and correct must have one length, got {confidence.size} and {array.size}")
    return array


def require_level(level: float) -> None:
    """Raises a ValueError if a nominal coverage lies outside (0, 1).

    >>> require_level(1.0)
    Traceback (most recent call last):
    ValueError: level must lie in (0, 1), such as 0.95, got 1.0
    """
    require_number("level", level)
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), such as 0.95, got {level}")


def require_simulation(draws: int, level: float) -> None:
    """Raises a ValueError if a simulation has fewer than 100 draws, or a nominal coverage lies outside (0, 1).

    >>> require_simulation(99, 0.95)
    Traceback (most recent call last):
    ValueError: draws must be at least 100, got 99
    """
    require_at_least("draws", draws, 100)
    require_level(level)


def require_number(name: str, value: object) -> None:
    """Raises a ValueError if an option is no finite real number.

    >>> require_number("gamma", float("nan"))
    Traceback (most recent call last):
    ValueError: gamma must be a finite number, got nan
    """
    if not isinstance(value, Real) or not np.isfinite(float(value)):
        raise ValueError(f"{name} must be a finite number, got {value!r}")


def require_range(within: tuple[float, float]) -> None:
    """Raises a ValueError if the range of a number is not (low, high) with low < high; the ends may be infinite.

    >>> require_range((1, 0))
    Traceback (most recent call last):
    ValueError: within must be (low, high) with low < high, got (1, 0)
    """
    low, *rest = within
    if len(rest) != 1 or not low < rest[0]:
        raise ValueError(f"within must be (low, high) with low < high, got {within}")


def require_at_least(name: str, value: int, least: int) -> None:
    """Raises a ValueError if an option, such as a number of resamples, is no whole number or too small.

    >>> require_at_least("bins", 0, 1)
    Traceback (most recent call last):
    ValueError: bins must be at least 1, got 0
    """
    require_whole(name, value)
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def require_whole(name: str, value: object) -> None:
    """Raises a ValueError if an option is no whole number.

    >>> require_whole("degree", 1.5)
    Traceback (most recent call last):
    ValueError: degree must be a whole number, got 1.5
    """
    if not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, got {value!r}")


def random_generator(seed: int) -> np.random.Generator:
    """NumPy's default generator with a seed.

    Raises:
        ValueError: If the seed is not a whole number >= 0.

    >>> random_generator(-1)
    Traceback (most recent call last):
    ValueError: seed must be at least 0, got -1
    """
    require_at_least("seed", seed, 0)
    return np.random.default_rng(seed)


def _real(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """The values as float64; numbers alone are converted, so that text and imaginary parts are not lost."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got {array.dtype}")
    return array.astype(np.float64, copy=False)


def _reject_infinite(name: str, array: FloatArray) -> None:
    count = int(np.isinf(array).sum())
    if count:
        raise ValueError(f"{name} must be finite, got {count} infinite of {array.size} values")


def _reject_nan(name: str, array: FloatArray) -> None:
    count = int(np.isnan(array).sum())
    if count:
        raise ValueError(f"{name} must not be NaN, got {count} NaN of {array.size} values")


def _require_unit_sums(name: str, sums: FloatArray) -> None:
    worst = float(sums[np.abs(sums - 1).argmax()])
    if abs(worst - 1) > NORMALISATION_TOLERANCE:
        raise ValueError(f"each row of {name} must sum to probability 1, got a row with {worst:.6g}")
