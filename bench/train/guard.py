"""Divergence is a result, not an accident: the rule that tells it."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["LOSS_LIMIT", "divergence"]

LOSS_LIMIT = 1e8
"""|L| beyond which JEM's and GMMC's code give up; theirs misses NaN, for which every comparison is false."""


def divergence(loss: float, logs: Mapping[str, float]) -> str | None:
    """Why training has diverged, or None.

    Args:
        loss: The scalar that was descended.
        logs: Further scalars of the step, such as fp and fq.
    """
    for name, value in {"loss": loss, **logs}.items():
        if not math.isfinite(value):
            return f"{name} is {value}"
    if abs(loss) > LOSS_LIMIT:
        return f"|loss| is {abs(loss):.3g}, more than {LOSS_LIMIT:.0e}"
    return None
