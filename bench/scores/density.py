"""Scores from the density of x."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def log_density(log_p: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The log-density itself.

    Args:
        log_p: log p(x) up to a constant that is the same for all items, shape (n,).

    Returns:
        Scores, shape (n,), higher = in-distribution.

    Raises:
        ValueError: If the shape is not (n,) or a value is NaN.

    >>> log_density([-3, -1])
    array([-3., -1.])
    """
    return _one_an_item("log_p", log_p)


def approximate_mass(gradient_norm: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """-||d log p(x) / dx||_2: the density is flat near the mass of a distribution (JEM paper, section 5.3.3).

    Args:
        gradient_norm: L2 norm of the gradient of log p with respect to the input, shape (n,), >= 0.

    Returns:
        Scores, shape (n,), <= 0, higher = in-distribution.

    Raises:
        ValueError: If the shape is not (n,), or a value is NaN or negative.

    >>> approximate_mass([1, 2])
    array([-1., -2.])
    """
    norm = _one_an_item("gradient_norm", gradient_norm)
    if (norm < 0).any():
        raise ValueError(
            f"gradient_norm must be >= 0, got {int((norm < 0).sum())} negative values; was the score passed?"
        )
    return -norm


def _one_an_item(name: str, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must have shape (n,), got {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"{name} must not be NaN, got {int(np.isnan(array).sum())} NaN of {array.size} values")
    return array
