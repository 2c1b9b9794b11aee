"""What every attack at a fixed budget ends in: the accuracy that it left, with its verdict and what was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.evaluate.base import Number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import Flag

__all__ = ["RobustAccuracies"]


@dataclass
class RobustAccuracies:
    """Robust accuracies of one job, as they are added.

    Attributes:
        eps: The budget, such as ``"8/255"``.
        numbers: One a metric.
        items: By metric (N,), which items are robust.
        checks: By metric, the sentence of every check that was made, raised or not.
        not_measured: By metric, names of the checks that were not made.
    """

    eps: str
    numbers: list[Number] = field(default_factory=list)
    items: dict[str, NDArray[Any]] = field(default_factory=dict)
    checks: dict[str, dict[str, str]] = field(default_factory=dict)
    not_measured: dict[str, list[str]] = field(default_factory=dict)

    def add(self, metric: str, definition: str, robust: NDArray[np.bool_], flags: Sequence[Flag]) -> None:
        """The share of robust items among all N that were listed, an upper bound.

        Args:
            metric: Of the number, and name of its array.
            definition: As in the column.
            robust: (N,) clean-correct and not broken, N >= 1.
            flags: Every check that was made; they decide the verdict.
        """
        from bench.attacks.diagnostics import verdict
        from bench.metrics.intervals import wilson

        judged, count, n = verdict(flags), int(robust.sum()), len(robust)
        self.items[metric] = robust
        self.checks[metric] = {flag.name: flag.text for flag in flags}
        self.not_measured[metric] = list(judged.not_measured)
        self.numbers.append(
            Number(
                metric=metric,
                argument=self.eps,
                value=count / n,
                n=n,
                interval=wilson(count, n),
                definition=definition,
                items=metric,
                verdict=judged.word,
                flags={flag.name: flag.text for flag in flags if flag.raised},
            )
        )

    @property
    def details(self) -> dict[str, Any]:
        """For the record."""
        return {"checks": self.checks, "not_measured": self.not_measured}
