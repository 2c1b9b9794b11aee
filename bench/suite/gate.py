"""Rules that a run must keep against a baseline: ``[gate]`` of a suite, and ``--rule`` of ``bench gate``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from bench.spec import Config
from bench.suite.schema import FileName

__all__ = ["GateSection", "Rule", "parse_rule"]

LEVEL = 0.05
"""Level of a significance test if the rule names none."""

_BOUND = re.compile(r"(?P<column>\S+)\s*(?P<operator>>=|<=|>|<)\s*(?P<bound>\S+)")
_TEST = re.compile(r"(?P<column>\S+)\s+not\s+(?P<what>worse|lower|higher)(?:\s+at\s+(?P<alpha>\S+))?")

_GRAMMAR = "'accuracy >= -0.005', or 'accuracy not worse at 0.05' for a significance test"


@dataclass(frozen=True)
class Rule:
    """One rule on the difference of a column to the baseline.

    Attributes:
        text: The rule as it was written.
        column: Name of a column, or a glob pattern of names.
        operator: ``">="``, ``">"``, ``"<="`` or ``"<"`` for a bound of the difference of means; ``"worse"``,
            ``"lower"`` or ``"higher"`` for a test: the rule is then broken if the difference has that direction and
            is significant.
        bound: The bound, in the unit of the column (fractions in [0, 1]); of a test, the level.
    """

    text: str
    column: str
    operator: Literal[">=", ">", "<=", "<", "worse", "lower", "higher"]
    bound: float

    @property
    def is_test(self) -> bool:
        """Whether the rule asks for significance."""
        return self.operator in ("worse", "lower", "higher")

    def kept(self, difference: float) -> bool:
        """Whether a difference of means keeps a bound; equality up to rounding of float64 counts as equal."""
        slack = 1e-12 * max(1.0, abs(self.bound))
        match self.operator:
            case ">=":
                return difference >= self.bound - slack
            case ">":
                return difference > self.bound + slack
            case "<=":
                return difference <= self.bound + slack
            case _:
                return difference < self.bound - slack


def parse_rule(text: str) -> Rule:
    """Read a rule such as ``"accuracy >= -0.005"`` or ``"pgd-40@8/255 not worse at 0.05"``.

    Raises:
        ValueError: It is no rule.
    """
    match = _BOUND.fullmatch(text.strip()) or _TEST.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no rule of a gate; write {_GRAMMAR}")
    parts = match.groupdict()
    operator = parts.get("operator") or parts["what"]
    number = parts["bound"] if "bound" in parts else parts["alpha"] or f"{LEVEL:g}"
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"{text!r}: {number!r} is no number; bounds are fractions, so half a point is 0.005") from None
    test = "bound" not in parts
    if not math.isfinite(bound) or (test and not 0 < bound < 1):
        raise ValueError(f"{text!r}: {'a level lies in (0, 1)' if test else 'the bound must be finite'}, got {number}")
    return Rule(text.strip(), parts["column"], operator, bound)  # type: ignore[arg-type]


class GateSection(Config):
    """``[gate]``: the rules of ``bench gate``, unless the command names others."""

    rules: tuple[str, ...] = Field(min_length=1, description=f"Rules, such as {_GRAMMAR}")
    against: FileName | None = Field(
        None, description="Results folder of the baseline, relative to the suite file; default: named by the command"
    )

    @field_validator("rules")
    @classmethod
    def _are_rules(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        for rule in rules:
            parse_rule(rule)
        return rules
