"""Transfer: adversarial images of another model, applied to the model under attack (Papernot et al. 2016,
arXiv:1605.07277; Liu et al. 2017, arXiv:1611.02770).

Gradients come from the surrogate alone, so vanishing gradients of the model do not weaken the attack. If transfer
breaks images that white-box attacks did not, those attacks suffered from gradient masking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .losses import get_loss
from .spec import HALVE_AT, Count, Decaying, LossName, Precision, Step, halved_text, restarts_text, search_text
from .threat import ThreatModel, format_eps

if TYPE_CHECKING:
    from .problem import Problem
    from .table import Found

__all__ = ["TransferAttack"]


class TransferAttack(Decaying):
    """PGD on the surrogate with decaying steps; the final iterate counts, as the farthest beyond the boundary.

    Attributes:
        loss: The loss of the surrogate that is maximised.
        steps: Gradient steps of each restart.
        step: First step size, halved after half and three quarters of the steps.
        restarts: Starts on the surrogate; broken images are not attacked again.
        search_precision: As of `bench.attacks.pgd.PGDAttack`, for the surrogate.
    """

    name: ClassVar[str] = "transfer"
    summary: ClassVar[str] = (
        "PGD on another model, the surrogate; what fools this one counts. Needs no gradient of this one."
    )
    source: ClassVar[str] = "Papernot et al. 2016, arXiv:1605.07277; Liu et al. 2017, arXiv:1611.02770"
    targetable: ClassVar[bool] = False
    needs_surrogate: ClassVar[bool] = True

    loss: LossName = "margin"
    steps: Count = 100
    step: Step = "eps/10"
    restarts: Count = 1
    search_precision: Precision = "float32"

    def definition(self, threat: ThreatModel, targets: str | None = None) -> str:  # noqa: ARG002 - takes none
        """For example ``transfer-linf[100, 8/255, step=eps/10 halved at 50% and 75%, margin, …]``.

        The caller names the surrogate.
        """
        parts = [str(self.steps), format_eps(threat.eps), halved_text(self.step), get_loss(self.loss).name]
        parts += ["final iterate of the surrogate", restarts_text(self.restarts)]
        parts += search_text(self.search_precision, "last restart" if self.restarts > 1 else None)
        return f"transfer-{threat.norm}[{', '.join(parts)}]"

    def passes(self) -> float:
        """A forward pass and an input gradient of the surrogate per step."""
        return 2.0 * self.steps * self.restarts

    def attack(self, problem: Problem) -> Found:
        """Attack the surrogate; proposals that fool the model under attack count.

        Raises:
            ValueError: The surrogate does not meet the needs of the loss.
        """
        from .ascent import climb
        from .in_turn import InTurn

        turns = InTurn(problem)
        loss = get_loss(self.loss)
        for restart in range(self.restarts):
            rows = turns.left()
            if not len(rows):
                break
            part = problem.part(rows).within(f"restart {restart}")
            if restart == self.restarts - 1 and restart > 0:
                part = part.in_float32()
            found = climb(
                part.on_surrogate(), loss, steps=self.steps, step=self.step, restarts=range(restart, restart + 1),
                halve_at=HALVE_AT,
            )  # fmt: skip
            # The gradient health of the surrogate says nothing about the model under attack.
            turns.take(rows, 0, found.without_health(), found["final"], restart)
        return turns.found(self.steps)
