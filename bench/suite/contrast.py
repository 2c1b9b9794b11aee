"""Scales values in which the entries of a suite differ to a profile, so that the entries still differ.

A suite that compares 20, 50 and 100 sampler steps compares 2, 5 and 10 under a profile with 5 steps: the profile's
value replaces the middle value, and the others keep their ratio to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal

__all__ = ["Anchor", "bounded", "differ", "shrunk"]

Anchor = Literal["middle", "smallest"]
"""Which of the suite's values becomes the profile's value."""


def differ(values: Sequence[Any]) -> bool:
    """Whether the values are not all equal. Equal numbers of different types (1 and 1.0) count as equal."""
    return any(value != values[0] for value in values[1:])


def shrunk(own: Sequence[Any], value: Any, anchor: Anchor = "middle") -> list[Any]:
    """The suite's values ``own`` scaled to the profile's ``value``, in the same order.

    Equal values are replaced. Numbers, lists of numbers and step sizes (``"eps/10"``, ``"2/255"``) that differ keep
    their order and, up to rounding, their ratios; whole numbers stay different and never grow. Other values that
    differ (a choice, a list of losses) stay unchanged.

    Args:
        own: At least one value.
        value: The profile's value.
        anchor: The value that becomes ``value``. ``"middle"``: the middle one of the distinct values, the upper one of
            an even number. ``"smallest"``: the smallest positive one.
    """
    if not differ(own):
        return [value] * len(own)
    if _numbers([*own, value]):
        return _ordered(own, value, anchor)
    if all(isinstance(item, list | tuple) and _numbers(item) for item in [*own, value]):
        return _lists(own, value)
    steps = [_step(item) for item in [*own, value]]
    if all(step is not None and step[0] == (steps[0] or ("",))[0] for step in steps):
        # Relative sizes are written by their divisors.
        relative = steps[0] is not None and steps[0][0] == "eps"
        sizes = [step[1] for step in steps if step is not None]
        factor = sizes[-1] / _anchored(sizes[:-1], anchor)
        return [f"eps/{1 / (size * factor):.4g}" if relative else f"{size * factor:.4g}" for size in sizes[:-1]]
    return list(own)


def bounded(own: Sequence[int], most: int) -> list[int]:
    """The numbers ``own`` scaled so that the largest is ``most``; unchanged if none exceeds ``most``.

    Different numbers stay different if there are at most ``most`` of them.
    """
    largest = max(own)
    if largest <= most:
        return list(own)
    distinct = sorted(set(own))
    if len(distinct) > most:
        return [min(value, most) for value in own]
    found: dict[int, int] = {}
    above = most + 1
    for rank, value in reversed(list(enumerate(distinct, start=1))):
        # At least ``rank``, to leave room for the smaller values.
        above = min(max(rank, round(value * most / largest)), above - 1)
        found[value] = above
    return [found[value] for value in own]


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _ordered(own: Sequence[Any], value: Any, anchor: Anchor) -> list[Any]:
    distinct = sorted(set(own))
    if distinct[0] < 0 or (isinstance(value, float) and value <= 0):
        return list(own)
    if not all(isinstance(item, int) for item in [*own, value]):
        factor = value / _anchored(own, anchor)
        return [float(f"{item * factor:.4g}") for item in own]
    ratio = Fraction(value, _anchored(own, anchor))  # exact, so that halves round as halves
    if ratio >= 1:
        return list(own)
    found: dict[Any, int] = {}
    below = -1
    for item in distinct:
        below = max(round(item * ratio), below + 1, 1 if item else 0)
        found[item] = below
    return [found[item] for item in own]


def _anchored(own: Sequence[Any], anchor: Anchor) -> Any:
    """The value that becomes the profile's; see ``shrunk``."""
    distinct = sorted(set(own))
    return next(item for item in distinct if item > 0) if anchor == "smallest" else distinct[len(distinct) // 2]


def _lists(own: Sequence[Any], value: Any) -> list[Any]:
    """Lists scaled by one factor: the largest number of the suite's lists becomes the largest of the profile's list."""
    largest = max((number for item in own for number in item), default=0)
    if not value or not largest:
        return list(own)
    factor = max(value) / largest
    whole = all(isinstance(number, int) for item in [*own, value] for number in item)
    if whole and factor >= 1:
        return list(own)
    scale: Callable[[Any], Any] = (lambda x: round(x * factor)) if whole else (lambda x: float(f"{x * factor:.4g}"))
    return [list(dict.fromkeys(scale(number) for number in item)) for item in own]


def _step(value: Any) -> tuple[str, float] | None:
    """A step size as (unit, size): relative to eps, or absolute."""
    number = r"(\d+(?:\.\d*)?|\.\d+)"
    match = re.fullmatch(rf"\s*(eps|{number})\s*(?:/\s*{number})?\s*", value) if isinstance(value, str) else None
    if match is None:
        return None
    top = 1.0 if match[1] == "eps" else float(match[2])
    bottom = float(match[3] or 1)
    return ("eps" if match[1] == "eps" else "pixel", top / bottom) if top and bottom else None
