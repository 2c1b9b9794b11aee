"""Random starts of attacks: points of a ball that depend on (seed, image, restart, pixel) and never on the batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.rng.splitmix import signed64, splitmix64, top_bits

__all__ = ["uniform", "uniform_in_ball"]

_BITS = 24  # bits of a value that a float32 in [0, 1) holds exactly


def _drawn(seed: int, ids: NDArray[np.int64], restart: int, size: int) -> NDArray[np.int64]:
    """(N, size) integers in [0, 2^24)."""
    import torch

    rows = np.asarray(ids, dtype=np.int64)
    if rows.ndim != 1:
        raise ValueError(f"ids must have shape (N,), got {rows.shape}")
    # The key of a row mixes in seed, id and restart, one after the other.
    key = splitmix64(torch.tensor([signed64(seed)]), 0)
    key = splitmix64(key ^ torch.from_numpy(rows), 0)
    key = splitmix64(key ^ signed64(restart), 0)
    drawn: NDArray[np.int64] = top_bits(splitmix64(key[:, None], torch.arange(size)), _BITS).numpy()
    return drawn


def uniform(seed: int, ids: NDArray[np.int64], restart: int, size: int) -> NDArray[np.float32]:
    """Independent uniform values in [0, 1).

    Args:
        seed: Seed of the attack; any integer.
        ids: (N,) ids of the images.
        restart: Number of the restart.
        size: Values per image; value i belongs to pixel i.

    Returns:
        (N, size), multiples of 2^-24.

    >>> bool((uniform(0, np.array([7, 8]), 0, 3)[1] == uniform(0, np.array([8]), 0, 3)[0]).all())
    True
    """
    return _drawn(seed, ids, restart, size).astype(np.float32) * np.float32(2.0**-_BITS)


def uniform_in_ball(seed: int, ids: NDArray[np.int64], restart: int, size: int) -> NDArray[np.float32]:
    """Points uniformly distributed in the unit L2 ball of dimension ``size``; arguments as in `uniform`.

    The direction comes from normal values (inverse distribution function); the radius is u^(1/size) with uniform u.

    >>> points = uniform_in_ball(0, np.array([7, 8]), 0, 3)
    >>> points.shape, bool((np.linalg.norm(points, axis=1) <= 1).all())
    ((2, 3), True)
    """
    from scipy.special import ndtri

    drawn = (_drawn(seed, ids, restart, size + 1).astype(np.float64) + 0.5) * 2.0**-_BITS
    directions = ndtri(drawn[:, :size])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points: NDArray[np.float32] = (directions * drawn[:, size:] ** (1 / size)).astype(np.float32)
    return points
