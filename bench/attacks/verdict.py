"""Verdicts on robust accuracies, and the checks behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["CHECKS", "INDISPENSABLE", "WORDS", "Flag", "Verdict", "Word", "verdict"]

Word = Literal["masked", "inconclusive", "confirmed", "no warning"]

WORDS: tuple[str, ...] = ("masked", "inconclusive", "confirmed", "no warning")
"""From worst to best. ``confirmed``: a sign of masking, but another loss without this sign leaves the same images."""

INDISPENSABLE = frozenset({"GRAD0", "LOSSGAP"})
"""Required checks: a number for which one of them could not be measured is inconclusive."""

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
"""All checks of a robust accuracy."""


@dataclass(frozen=True)
class Flag:
    """The result of one check.

    Attributes:
        name: One of ``CHECKS``.
        raised: Whether it warns.
        implies: Verdict on the number if the flag is raised.
        values: Measured values; shares and accuracies in [0, 1].
        text: One sentence with the values.
    """

    name: str
    raised: bool
    implies: Word
    values: Mapping[str, float]
    text: str


@dataclass(frozen=True)
class Verdict:
    """The verdict on one robust accuracy.

    Attributes:
        flags: Results of all checks that were made, raised or not.
        not_measured: Names of the checks that lacked data.
        exact: Whether the accuracy is 0; an upper bound of 0 cannot be too high.
    """

    flags: tuple[Flag, ...]
    not_measured: tuple[str, ...]
    exact: bool = False

    @property
    def word(self) -> Word:
        """The worst word that a raised flag implies; a missing GRAD0 or LOSSGAP implies ``inconclusive``. It is
        ``no warning`` if nothing is implied, or if no image is left.
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
        flags: Results of all checks that were made.
        left: The accuracy in [0, 1] if it is known; an accuracy of 0 is exact.

    Raises:
        ValueError: A check is given twice.
    """
    names = [flag.name for flag in flags]
    if len(set(names)) != len(names):
        raise ValueError(f"every check once, got {names}")
    return Verdict(tuple(flags), tuple(name for name in CHECKS if name not in names), exact=left == 0)
