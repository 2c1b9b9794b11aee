"""Verdicts on robust accuracies, and the warning signs that need no accuracy: properties of the model's outputs, and
attacks that were left out. `bench.attacks.diagnostics` has those that compare accuracies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "CHECKS",
    "INDISPENSABLE",
    "WORDS",
    "Flag",
    "Verdict",
    "Word",
    "coverage_flag",
    "dynamic_flag",
    "logits_flag",
    "random_flag",
    "transfer_flag",
    "verdict",
]

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


def logits_flag(probabilities: bool, not_finite_share: float = 0.0) -> Flag:
    """LOGITS: the model returns probabilities, which attenuate losses on logits, or values that are not finite.

    Args:
        probabilities: Whether the outputs look like probabilities.
        not_finite_share: Share of images with a NaN or infinite output, in [0, 1].
    """
    text = "outputs look like probabilities" if probabilities else "outputs are logits"
    text += f", not finite on {not_finite_share:.1%}" if not_finite_share else ""
    values = {"probabilities": float(probabilities), "not_finite_share": not_finite_share}
    return Flag("LOGITS", probabilities or not_finite_share > 0, "inconclusive", values, text)


def random_flag(random: bool, batch_dependent: bool = False) -> Flag:
    """RANDOM: two forward passes differ, so that attacks need expectations over the noise; or a prediction depends on
    the other images of the batch.
    """
    text = "two forward passes differ" if random else "two forward passes agree"
    text += ", a prediction changes with the rest of its batch" if batch_dependent else ""
    values = {"random": float(random), "batch_dependent": float(batch_dependent)}
    return Flag("RANDOM", random or batch_dependent, "inconclusive", values, text)


def dynamic_flag(dynamic: bool) -> Flag:
    """DYNAMIC: the forward pass takes gradients (purification, refinement): attacks must differentiate through them."""
    text = "gradients are taken inside the forward pass" if dynamic else "no gradient is taken in the forward pass"
    return Flag("DYNAMIC", dynamic, "inconclusive", {"dynamic": float(dynamic)}, text)


def transfer_flag() -> Flag:
    """TRANSFER: always raised if only adversarials of another model were tried; the bound is usually loose."""
    text = "an attack without the model's own gradients: a bound that is usually loose"
    return Flag("TRANSFER", True, "inconclusive", {}, text)


def coverage_flag(left_out: Mapping[str, str]) -> Flag:
    """COVERAGE: attacks of the definition were left out; always raised, because the worst case covers fewer attacks.

    Args:
        left_out: The reason by attack, at least one.
    """
    text = "left out: " + "; ".join(f"{name} ({why})" for name, why in left_out.items())
    return Flag("COVERAGE", True, "inconclusive", {"left_out": float(len(left_out))}, text)
