"""The momentum iterative attack (Dong et al. 2018, arXiv:1710.06081, algorithm 1) as a plug-in of bench."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from bench.attacks.losses import get_loss
from bench.attacks.spec import Attack, Count, LossName, NotNegative
from bench.attacks.threat import ThreatModel, format_eps

if TYPE_CHECKING:
    from bench.attacks.problem import Problem
    from bench.attacks.table import Found, Table

__all__ = ["MOMENTUM", "Momentum"]


class Momentum(Attack):
    """Steps of eps / steps along the sign of a running sum of gradients, each divided by its mean absolute value.

    Attributes:
        steps: Gradient steps, from the image itself.
        decay: Factor of the sum before a gradient is added; 1 in the paper.
        loss: What is maximised.
    """

    name: ClassVar[str] = "momentum"
    summary: ClassVar[str] = "Momentum iterative attack: signs of a running sum of gradients; final iterate."
    source: ClassVar[str] = "Dong et al. 2018, arXiv:1710.06081, algorithm 1"
    norms: ClassVar[tuple[str, ...]] = ("linf",)

    steps: Count = 10
    decay: NotNegative = 1.0
    loss: LossName = "ce"

    def definition(self, threat: ThreatModel, targets: str | None = None) -> str:
        """For example ``momentum-linf[10, 8/255, decay=1, ce]``."""
        parts = [str(self.steps), format_eps(threat.eps), f"decay={self.decay:g}", get_loss(self.loss).name]
        return f"momentum-{threat.norm}[{', '.join([*parts, *([targets] if targets else [])])}]"

    def passes(self) -> float:
        """A forward and an input gradient a step."""
        return 2.0 * self.steps

    def check(self, threat: ThreatModel, *, targeted: bool) -> None:
        """This example visits no rivals and reads no features."""
        super().check(threat, targeted=targeted)
        loss = get_loss(self.loss)
        if loss.per_rival or loss.needs_centers or (targeted and not loss.targetable):
            raise ValueError(f"momentum: loss {self.loss!r} is not supported; use 'ce' or 'margin'")

    def attack(self, problem: Problem) -> Found:
        """Attack batch by batch; a batch that was finished before a kill is read, not computed."""
        from bench.attacks.table import Found, Table

        batches = [problem.remember(piece, partial(self._batch, part)) for piece, part in problem.batches()]
        return Found(Table.joined(batches), steps=self.steps)

    def _batch(self, part: Problem) -> Table:
        import torch

        from bench.attacks.gradients import input_gradient
        from bench.attacks.losses import LossInputs
        from bench.attacks.table import unattacked

        loss, threat = get_loss(self.loss), part.threat
        images, goal = part.images.to(part.device), part.goal.to(part.device)
        current, total = images, torch.zeros_like(images)
        for _ in range(self.steps):
            points = current.detach().requires_grad_()
            values = loss(LossInputs(part.model.logits(points), goal.labels, goal.targets))
            gradient, _ = input_gradient(values, points)
            mean = gradient.abs().flatten(1).mean(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
            total = self.decay * total + gradient / mean.view(-1, 1, 1, 1)
            current = threat.project(current + threat.eps / self.steps * total.sign(), images)
        found = unattacked(current.cpu())
        found["forwards"].fill_(self.steps)
        return found


MOMENTUM = Momentum()
