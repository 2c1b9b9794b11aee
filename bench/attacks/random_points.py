"""Random points of the ball, without any gradient: what even chance finds, an attack with gradients ought to find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.rng import uniform, uniform_in_ball

from .catalogue import checked_int
from .problem import GradientHealth, Problem, Proposals
from .threat import ThreatModel, format_eps

# Restarts from 0 on belong to attacks with random starts, and -1 to the drawing of targets.
_STREAM = -2


@dataclass(frozen=True)
class RandomPoints:
    """Parameters of the search.

    Attributes:
        threat: Ball and box.
        draws: Points for each image; an image that is broken is not tried again.
    """

    threat: ThreatModel
    draws: int

    @property
    def own(self) -> bool:
        """True: leaving the threat model would be a bug."""
        return True

    @property
    def iterate(self) -> str:
        """The point that broke the image, else the last."""
        return "final"

    @property
    def definition(self) -> str:
        """For example ``noise-linf[8/255, 10 corners]``."""
        where = "corners" if self.threat.norm == "linf" else "points of the sphere"
        return f"noise-{self.threat.norm}[{format_eps(self.threat.eps)}, {self.draws} {where}]"

    def propose(self, problem: Problem) -> Proposals:
        """Try one point after the other."""
        count = len(problem.images)
        best, forwards = problem.images.clone(), np.zeros(count)
        waiting = np.arange(count)
        for draw in range(self.draws):
            if not len(waiting):
                break
            rows = torch.from_numpy(waiting)
            best[rows] = self._points(problem.images[rows], problem.ids[waiting], problem.seed, draw)
            forwards[waiting] += 1
            waiting = waiting[~problem.judge(best[rows], waiting).success]
        return Proposals(
            images=best,
            forwards=forwards,
            steps=0,
            loss=np.full(count, np.nan),
            first_wrong=None,
            first_step=np.full(count, -1, dtype=np.int64),
            has_final=True,
            health=GradientHealth.unmeasured(count),
        )

    def _points(self, images: Tensor, ids: np.ndarray, seed: int, draw: int) -> Tensor:
        """Corners of the L_inf ball, or points of the L2 sphere: as far out as the budget allows."""
        size = images[0].numel()
        if self.threat.norm == "linf":
            unit = np.where(uniform(seed, ids, _STREAM - draw, size) < 0.5, np.float32(-1), np.float32(1))
        else:
            unit = uniform_in_ball(seed, ids, _STREAM - draw, size)
            unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        offsets = torch.from_numpy(unit).view(images.shape).to(images) * self.threat.eps
        return self.threat.project(images + offsets, images)


def build(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> RandomPoints:
    """Check the parameters of a catalogue entry (see `bench.attacks.catalogue`).

    Raises:
        ValueError: A parameter has a wrong value.
    """
    del targeted  # the judge knows the targets
    if not np.isfinite(threat.eps):
        raise ValueError("noise needs a finite eps")
    return RandomPoints(threat, checked_int("noise", params, "draws"))
