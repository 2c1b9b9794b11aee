"""Keeps the global random generators of Python, NumPy and torch as a caller left them."""

from __future__ import annotations

from contextlib import AbstractContextManager

from bench.seeding import preserved, seeded


def preserved_random_state(seed: int | None = None) -> AbstractContextManager[None]:
    """Restore all global generators on the way out, also after an exception.

    Args:
        seed: If given, seeds them on the way in: for libraries that draw from global generators.
    """
    return preserved() if seed is None else seeded(seed)
