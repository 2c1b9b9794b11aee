"""Random generators of the data axis: one stream for each purpose, the same for every model family."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["generator"]


def generator(seed: int, name: str) -> np.random.Generator:
    """A PCG64 generator for one purpose.

    Args:
        seed: The data seed, 0 or more.
        name: The purpose, such as ``"cifar10/train"``; other names give unrelated streams.

    Raises:
        ValueError: The seed is negative.
    """
    if seed < 0:
        raise ValueError(f"data seed is {seed}, expected 0 or more")
    purpose = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose])))
