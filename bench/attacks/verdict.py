"""The words that stand beside a robust accuracy, and the checks from which they follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["CHECKS", "INDISPENSABLE", "WORDS", "Flag", "Verdict", "Word", "verdict"]

Word = Literal["masked", "inconclusive", "confirmed", "no warning"]

WORDS: tuple[str, ...] = ("masked", "inconclusive", "confirmed", "no warning")
"""The worst first. ``confirmed``: a sign of masking, but another loss, which shows none, leaves the same items."""

INDISPENSABLE = frozenset({"GRAD0", "LOSSGAP"})
"""Checks without which a number is inconclusive."""

CHECKS = (
    "GRAD0",
    "LOSSGAP",
    "FLAT",
    "NOISE",
    "BLACKBOX",
    "UNBOUNDED",
    "ITER",
    "MINNORM",
    "LOGITS",
    "RANDOM",
    "DYNAMIC",
)
"""Every check that can be made of a robust accuracy."""


@dataclass(frozen=True)
class Flag:
    """One check that was made.

    Attributes:
        name: One of ``CHECKS``.
        raised: Whether it warns.
        implies: What it makes of the number when raised.
        values: What was measured; shares and accuracies in [0, 1].
        text: One sentence with the values.
    """

    name: str
    raised: bool
    implies: Word
    values: Mapping[str, float]
    text: str


@dataclass(frozen=True)
class Verdict:
    """What may be said of one robust accuracy.

    Attributes:
        flags: Every check that was made, raised or not.
        not_measured: Names of the checks for which there was no data.
        exact: Whether nothing is left: an upper bound of 0 cannot be too high.
    """

    flags: tuple[Flag, ...]
    not_measured: tuple[str, ...]
    exact: bool = False

    @property
    def word(self) -> Word:
        """The worst of what the raised flags imply, and ``inconclusive`` if GRAD0 or LOSSGAP could not be measured;
        ``no warning`` if there is none of it, or if no item is left.
        """
        if self.exact:
            return "no warning"
        implied = {flag.implies for flag in self.flags if flag.raised}
        if INDISPENSABLE & set(self.not_measured):
            implied.add("inconclusive")
        return min(implied, key=WORDS.index, default="no warning")

    @property
    def raised(self) -> tuple[str, ...]:
        """Names of the raised flags."""
        return tuple(flag.name for flag in self.flags if flag.raised)


def verdict(flags: Sequence[Flag], *, left: float | None = None) -> Verdict:
    """Collect the checks of one robust accuracy.

    Args:
        flags: Every check that was made.
        left: The accuracy, if it is known: 0 is exact, whatever was checked.

    Raises:
        ValueError: A check was given twice.
    """
    names = [flag.name for flag in flags]
    if len(set(names)) != len(names):
        raise ValueError(f"every check once, got {names}")
    return Verdict(tuple(flags), tuple(name for name in CHECKS if name not in names), exact=left == 0)
