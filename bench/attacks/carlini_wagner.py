"""Carlini-Wagner L2 with binary search over c (Carlini & Wagner 2017, arXiv:1608.04644, section VI.A)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator

from .spec import Attack, Count, NotNegative, Positive, Precision, search_text
from .threat import ThreatModel, format_eps

if TYPE_CHECKING:
    from .problem import Problem
    from .table import Found

__all__ = ["LEAST_PATIENCE", "CarliniWagner"]

PATIENT_STEPS = 400
"""Fewest steps of a round in which images may stop early."""
LEAST_PATIENCE = 50
"""Smallest patience: with fewer steps without a smaller cost, images stop before they converge."""


def _patience(value: Any) -> Any:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= LEAST_PATIENCE):
        return value
    raise ValueError(
        f"must be an integer >= {LEAST_PATIENCE} (fewer steps end images before they converge) or None, got {value!r}"
    )


class CarliniWagner(Attack):
    """Minimises ``||x' - x||^2 + c max(0, kappa - margin(x'))`` by Adam, separately for every image.

    With a finite eps, only successes within eps count.

    Attributes:
        steps: Adam steps of each round.
        rounds: Rounds of the binary search over c.
        c0: First c; it is multiplied by ten until a round succeeds, then bisected.
        lr: Learning rate of Adam, in w.
        kappa: Margin that a success must have.
        patience: Steps without a smaller cost after which an image ends its round; None: never.
        search_precision: ``"float32"``; ``"bf16"``: the backbone searches in bfloat16, and every round ends with passes
            in float32 that look for the shortest success along the segment through what it found; ``"auto"``: bf16
            where the device has instructions for it.
    """

    name: ClassVar[str] = "cw_l2"
    summary: ClassVar[str] = (
        "Carlini-Wagner L2 with binary search over c, every image on its own: independent of batching."
    )
    source: ClassVar[str] = "Carlini & Wagner 2017, arXiv:1608.04644, section VI.A"
    norms: ClassVar[tuple[str, ...]] = ("l2",)
    minimises_norm: ClassVar[bool] = True
    tanh_divisor: ClassVar[float] = 1.9
    """Pixels are 1/2 + tanh(w) / 1.9: with 2, as published, pixels of exactly 0 or 1 would lie at infinite w."""

    steps: Count = 100
    rounds: Count = 9
    c0: Positive = 0.01
    lr: Positive = 0.01
    kappa: NotNegative = 0.0
    patience: Annotated[int | None, BeforeValidator(_patience)] = 50
    search_precision: Precision = "float32"

    @property
    def effective_patience(self) -> int | None:
        """The patience; None in short runs, where most images still improve when their patience would end."""
        return self.patience if self.steps >= PATIENT_STEPS else None

    def definition(self, threat: ThreatModel, targets: str | None = None) -> str:
        """For example ``cw-l2[100 x 9 rounds, c0=0.01, kappa=0, lr=0.01, untargeted, smallest success …]``."""
        parts = [f"{self.steps} x {self.rounds} rounds", f"c0={self.c0:g}", f"kappa={self.kappa:g}", f"lr={self.lr:g}"]
        parts.append(targets or "untargeted")
        patience = self.effective_patience
        parts += [f"patience {patience}"] if patience is not None else []
        parts += search_text(self.search_precision, "end of every round")
        parts += [f"within {format_eps(threat.eps)}"] if math.isfinite(threat.eps) else []
        return f"cw-l2[{', '.join(parts)}, x = 1/2 + tanh(w)/{self.tanh_divisor:g}, smallest success of each image]"

    def passes(self) -> float:
        """A forward pass and an input gradient per step; patience may save most of them."""
        return 2.0 * self.steps * self.rounds

    def attack(self, problem: Problem) -> Found:
        """Attack batch by batch; the smallest successful iterate of each image is proposed."""
        from .descent import Search
        from .table import Found

        search = Search(
            problem.threat,
            self.steps,
            self.rounds,
            self.c0,
            self.lr,
            self.kappa,
            patience=self.effective_patience,
            half_range=1 / self.tanh_divisor,
        )
        return Found(search.run(problem), steps=self.steps * self.rounds)
