"""An attack: signs of input gradients from the image itself (Kurakin et al. 2017, arXiv:1607.02533, Sec. 2.2).

A suite names it in an evaluation of kind ``attack`` as ``attack = "a_skeleton:ATTACK"``. To register it under its name,
publish it as a package with

    [project.entry-points."bench.attacks"]
    a-skeleton = "a_skeleton:ATTACK"
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from bench.attacks.spec import Attack, Count
from bench.attacks.threat import ThreatModel, format_eps

if TYPE_CHECKING:
    from bench.attacks.problem import Problem
    from bench.attacks.table import Found, Table

__all__ = ["ATTACK", "ASkeleton"]


class ASkeleton(Attack):
    """Steps of 2 eps / steps along the sign of the gradient of the largest wrong logit less the true one.

    Attributes:
        steps: Gradient steps, from the image itself.
    """

    name: ClassVar[str] = "a-skeleton"
    summary: ClassVar[str] = "Iterated signs of input gradients of the margin; final iterate."
    source: ClassVar[str] = "Kurakin et al. 2017, arXiv:1607.02533, Sec. 2.2, with the margin as the loss"
    norms: ClassVar[tuple[str, ...]] = ("linf",)
    targetable: ClassVar[bool] = False

    steps: Count = 10

    def definition(self, threat: ThreatModel, targets: str | None = None) -> str:
        """For example ``a-skeleton-linf[10, 8/255]``."""
        del targets
        return f"a-skeleton-{threat.norm}[{self.steps}, {format_eps(threat.eps)}]"

    def passes(self) -> float:
        """A forward pass and an input gradient a step."""
        return 2.0 * self.steps

    def attack(self, problem: Problem) -> Found:
        """Propose images, batch by batch; the judge decides. A batch that was finished before a kill is read."""
        from bench.attacks.table import Found, Table

        batches = [problem.remember(piece, partial(self._batch, part)) for piece, part in problem.batches()]
        return Found(Table.joined(batches), steps=self.steps)

    def _batch(self, part: Problem) -> Table:
        from bench.attacks.gradients import input_gradient
        from bench.attacks.losses import LossInputs, get_loss
        from bench.attacks.table import unattacked

        margin, threat = get_loss("margin"), part.threat
        images, goal = part.images.to(part.device), part.goal.to(part.device)
        current = images
        for _ in range(self.steps):
            points = current.detach().requires_grad_()
            values = margin(LossInputs(part.model.logits(points), goal.labels, goal.targets))
            gradient, _ = input_gradient(values, points)
            current = threat.project(points.detach() + 2 * threat.eps / self.steps * gradient.sign(), images)
        found = unattacked(current.cpu())
        found["forwards"].fill_(self.steps)
        return found


ATTACK = ASkeleton()
