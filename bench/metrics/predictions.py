"""Predicted classes. An item whose outputs are not all finite has no prediction, so it counts as wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NO_CLASS = -1
"""The predicted class of an item without a prediction; no label equals it."""


def finite_items(outputs: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether all outputs of each item are finite.

    Args:
        outputs: One value per item, shape (n,), or one row per item, shape (n, ...).

    Returns:
        Shape (n,).

    >>> finite_items([[0.0, 1.0], [0.0, np.nan]])
    array([ True, False])
    """
    array = np.asarray(outputs, dtype=np.float64)
    return np.asarray(np.isfinite(array).all(axis=tuple(range(1, array.ndim))), dtype=np.bool_)


def predicted_classes(logits: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The class of the largest logit (the first among equals), or ``NO_CLASS`` if a logit is NaN or infinite.

    An argmax alone would put a row of NaN into class 0.

    Args:
        logits: Shape (n, K), K >= 1; log-probabilities that are all finite serve as well.

    Returns:
        Shape (n,), in -1 … K-1.

    Raises:
        ValueError: If the shape is not (n, K) with K >= 1.

    >>> predicted_classes([[0.0, 1.0], [np.nan, 0.0]])
    array([ 1, -1])
    """
    array = np.asarray(logits, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"logits must have shape (n, K) with K >= 1, got {array.shape}")
    finite = finite_items(array)
    return np.where(finite, np.where(finite[:, None], array, 0.0).argmax(axis=1), NO_CLASS).astype(np.int64)


def absence(count: int, n: int, what: str) -> str:
    """The note that says how many items have no finite output: ``"3 of 397 test items have no finite logits"``.

    Args:
        count: Number of items without a finite output.
        n: Number of all items.
        what: The rest of the sentence, such as ``"test items have no finite logits"``.

    >>> absence(3, 397, "test items have no finite logits")
    '3 of 397 test items have no finite logits'
    """
    return f"{count:,} of {n:,} {what}"
