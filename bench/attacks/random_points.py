"""Random points of the ball, without gradients. An attack with gradients should find all that random points find."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .spec import Attack, Count
from .threat import ThreatModel, format_eps

if TYPE_CHECKING:
    from torch import Tensor

    from .problem import Problem
    from .table import Found

__all__ = ["RandomPoints"]

# Stream numbers from 0 on belong to restarts of attacks with random starts, and -1 to the drawing of targets.
_STREAM = -2


class RandomPoints(Attack):
    """Corners of the L_inf ball, or points of the L2 sphere: perturbations that use the whole budget.

    Attributes:
        draws: Points for each image; broken images are not tried again.
    """

    name: ClassVar[str] = "noise"
    summary: ClassVar[str] = "Random corners of the L_inf ball, or points of the L2 sphere; no gradient, no search."
    source: ClassVar[str] = "Carlini et al. 2019, arXiv:1902.06705, section 4 (random search as a check)"

    draws: Count = 10

    def definition(self, threat: ThreatModel, targets: str | None = None) -> str:  # noqa: ARG002 - the judge knows them
        """For example ``noise-linf[8/255, 10 corners]``."""
        where = "corners" if threat.norm == "linf" else "points of the sphere"
        return f"noise-{threat.norm}[{format_eps(threat.eps)}, {self.draws} {where}]"

    def passes(self) -> float:
        """A forward pass per point."""
        return float(self.draws)

    def attack(self, problem: Problem) -> Found:
        """Try one point after the other."""
        from .in_turn import InTurn
        from .table import unattacked

        turns = InTurn(problem, keep="last")
        for draw in range(self.draws):
            rows = turns.left()
            if not len(rows):
                break
            part = problem.part(rows)
            found = unattacked(_points(part, draw))
            found["forwards"].fill_(1)
            turns.take(rows, 0, found, found["final"], draw)
        return turns.found()


def _points(problem: Problem, draw: int) -> Tensor:
    import numpy as np

    from bench.rng import uniform, uniform_in_ball

    images, size = problem.images, problem.images[0].numel()
    if problem.threat.norm == "linf":
        unit = np.where(uniform(problem.seed, problem.ids, _STREAM - draw, size) < 0.5, np.float32(-1), np.float32(1))
    else:
        unit = uniform_in_ball(problem.seed, problem.ids, _STREAM - draw, size)
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    return problem.perturbed(unit, images)
