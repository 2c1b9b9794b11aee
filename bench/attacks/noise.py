"""Counter-based noise: a value depends on (seed, image id, restart, pixel), never on the batch.

The generator is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014): a bijective 64-bit mixer applied to a counter. The key of a row is made by
mixing in seed, id and restart one after the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_BITS = 24  # what a float32 in [0, 1) holds exactly


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The SplitMix64 finaliser (variant 13 of Stafford's mixers)."""
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _bits(seed: int, ids: NDArray[np.int64], restart: int, size: int) -> NDArray[np.uint64]:
    """(N, size) integers in [0, 2^24)."""
    rows = np.asarray(ids, dtype=np.int64)
    if rows.ndim != 1:
        raise ValueError(f"ids must have shape (N,), got {rows.shape}")
    key = _mix(np.array([seed % 2**64], dtype=np.uint64) + _GOLDEN)
    key = _mix((key ^ rows.view(np.uint64)) + _GOLDEN)
    key = _mix((key ^ np.array([restart % 2**64], dtype=np.uint64)) + _GOLDEN)
    counters = np.arange(1, size + 1, dtype=np.uint64) * _GOLDEN
    drawn: NDArray[np.uint64] = _mix(key[:, None] + counters[None, :]) >> np.uint64(64 - _BITS)
    return drawn


def uniform(seed: int, ids: NDArray[np.int64], restart: int, size: int) -> NDArray[np.float32]:
    """Independent uniform values in [0, 1).

    Args:
        seed: Seed of the attack; any integer.
        ids: (N,) identities of the images.
        restart: Number of the restart.
        size: Values per image; value i is that of pixel i.

    Returns:
        (N, size), multiples of 2^-24.
    """
    return _bits(seed, ids, restart, size).astype(np.float32) * np.float32(2.0**-_BITS)


def uniform_in_ball(seed: int, ids: NDArray[np.int64], restart: int, size: int) -> NDArray[np.float32]:
    """Points uniformly distributed in the unit L2 ball of dimension ``size``; arguments as in `uniform`.

    Direction from normal values (inverse distribution function), radius u^(1/size).
    """
    drawn = (_bits(seed, ids, restart, size + 1).astype(np.float64) + 0.5) * 2.0**-_BITS
    directions = ndtri(drawn[:, :size])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points: NDArray[np.float32] = (directions * drawn[:, size:] ** (1 / size)).astype(np.float32)
    return points


def derived_seed(*parts: int | str) -> int:
    """A 31-bit seed that depends on every part, for libraries that own a generator of their own."""
    state = np.zeros(1, dtype=np.uint64)
    for part in parts:
        data = part.encode() if isinstance(part, str) else (part % 2**64).to_bytes(8, "little")
        # The length first: ("ab", "c") and ("a", "bc") must differ.
        for value in (len(data), *data):
            state = _mix((state ^ np.uint64(value)) + _GOLDEN)
    return int(state[0] >> np.uint64(33))
