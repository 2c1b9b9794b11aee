"""Seeds of purposes, derived from one seed, and generators that depend on the data seed."""

from __future__ import annotations

import hashlib

import numpy as np

from bench.keys import canonical
from bench.rng.splitmix import splitmix64, top_bits

__all__ = ["derive_seed", "derived_seed", "generator"]


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for a purpose, derived from ``seed``; seeds of different names are independent.

    >>> derive_seed(1, "train") == derive_seed(1, "train") != derive_seed(1, "predict")
    True
    """
    text = canonical([seed, *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, name: str) -> np.random.Generator:
    """A PCG64 generator for the data: one stream for each purpose, the same for every model family.

    Args:
        seed: The data seed, 0 or more.
        name: The purpose, such as ``"cifar10/train"``; different names give independent streams.

    Raises:
        ValueError: The seed is negative.

    >>> generator(0, "digits").integers(10, size=3).tolist()
    [3, 7, 2]
    """
    if seed < 0:
        raise ValueError(f"data seed is {seed}, expected 0 or more")
    purpose = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose])))


def derived_seed(*parts: int | str) -> int:
    """A 31-bit seed that depends on every part, for libraries with a generator of their own.

    >>> derived_seed("ab", "c") == derived_seed("a", "bc")
    False
    """
    import torch

    state = torch.zeros((), dtype=torch.int64)
    for part in parts:
        data = part.encode() if isinstance(part, str) else (part % 2**64).to_bytes(8, "little")
        # The length comes first, so that ("ab", "c") and ("a", "bc") differ.
        for value in (len(data), *data):
            state = splitmix64(state ^ value, 0)
    return int(top_bits(state, 31))
