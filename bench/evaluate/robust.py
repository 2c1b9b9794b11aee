"""What every attack at a fixed budget ends in: the accuracy that it left, with its verdict and what was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.evaluate.attack_seeds import per_seed, spread
from bench.evaluate.base import Column, Number, Outcome

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import Flag

__all__ = ["RobustAccuracies", "healthiest", "nothing_finite", "nothing_measured", "share_number"]


@dataclass
class RobustAccuracies:
    """Robust accuracies of one job, as they are added.

    Attributes:
        eps: The budget, such as ``"8/255"``.
        seeds: Of the attack, in the order of the columns of all flags.
        numbers: One a metric.
        items: By metric (N,), which items are robust: booleans, or with several seeds of the attack the shares of them;
            then ``<metric>.seeds`` (N, A) has the flags of each.
        checks: By metric, the sentence of every check that was made, raised or not.
        not_measured: By metric, names of the checks that were not made.
        spreads: By metric, the value of each seed with its spread; empty for one seed.
    """

    eps: str
    seeds: Sequence[int] = (0,)
    numbers: list[Number] = field(default_factory=list)
    items: dict[str, NDArray[Any]] = field(default_factory=dict)
    checks: dict[str, dict[str, str]] = field(default_factory=dict)
    not_measured: dict[str, list[str]] = field(default_factory=dict)
    spreads: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, metric: str, definition: str, robust: NDArray[np.bool_], flags: Sequence[Flag]) -> None:
        """The share of robust items among all N that were listed, an upper bound.

        Args:
            metric: Of the number, and name of its array.
            definition: As in the column.
            robust: (N,) clean-correct and not broken, N >= 1; (N, A) for A seeds of the attack.
            flags: Every check that was made; they decide the verdict.
        """
        from bench.attacks.diagnostics import verdict

        self.items |= per_seed(metric, robust)
        if robust.ndim == 2:
            self.spreads[metric] = spread(robust)
        judged = verdict(flags, left=int(robust.sum()))
        self.checks[metric] = {flag.name: flag.text for flag in flags}
        self.not_measured[metric] = list(judged.not_measured)
        self.numbers.append(
            share_number(
                metric,
                self.eps,
                definition,
                robust,
                items=metric,
                verdict=judged.word,
                flags={} if judged.exact else {flag.name: flag.text for flag in flags if flag.raised},
            )
        )

    @property
    def details(self) -> dict[str, Any]:
        """For the record."""
        found: dict[str, Any] = {"checks": self.checks, "not_measured": self.not_measured}
        if self.spreads:
            found["attack_seeds"] = {"seeds": list(self.seeds), "numbers": self.spreads}
        return found


def share_number(metric: str, argument: str, definition: str, hits: NDArray[np.bool_], **more: Any) -> Number:
    """A share of items as a number, with the interval that covers items and, if there are several, attack seeds.

    Args:
        metric: Of the number.
        argument: Of the number.
        definition: As in the column.
        hits: (N,) or (N, A), N >= 1.
        **more: Further fields of the number.
    """
    from bench.metrics.intervals import wilson
    from bench.metrics.repeated import repeated_proportion

    count, n = int(hits.sum()), len(hits)
    interval = wilson(count, n) if hits.ndim == 1 else repeated_proportion(hits)
    return Number(
        metric=metric,
        argument=argument,
        value=count / hits.size,
        n=n,
        interval=interval,
        definition=definition,
        **more,
    )


def healthiest(flags: Sequence[Flag]) -> list[Flag]:
    """The one flag of a composed attack: that of the member which speaks least against it; none of none."""
    from bench.attacks.diagnostics import WORDS

    order = sorted(flags, key=lambda flag: -WORDS.index(flag.implies if flag.raised else "no warning"))
    return order[:1]


def nothing_finite(columns: Sequence[Column], n: int) -> Outcome:
    """What is left of a model none of whose outputs is finite: no number, and why.

    Args:
        columns: Of the evaluation.
        n: Items that were looked at.
    """
    reason = f"the outputs are not finite on any of the {n} items"
    return replace(nothing_measured(columns, reason), details={"not_finite": n})


def nothing_measured(columns: Sequence[Column], reason: str) -> Outcome:
    """No number at all, for one reason.

    Args:
        columns: Of the evaluation.
        reason: As it stands in the cells.
    """
    return Outcome(
        [
            Number(metric=c.metric, argument=c.argument, value=None, n=0, definition=c.definition, reason=reason)
            for c in columns
            if c.across is None
        ]
    )
