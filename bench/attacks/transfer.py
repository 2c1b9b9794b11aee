"""Transfer: adversarial images of another model, shown to the one under attack (Papernot et al. 2016,
arXiv:1605.07277; Liu et al. 2017, arXiv:1611.02770).

Gradients come from the surrogate alone, so a model whose own gradients vanish is no harder to attack than one whose
do not. Where transfer breaks images that white-box attacks left, those attacks were fooled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from . import definitions
from .catalogue import checked_int
from .definitions import HALVE_AT
from .losses import Loss, get_loss
from .pgd import PGD
from .problem import GradientHealth, Problem, Proposals
from .threat import StepSize, ThreatModel, parse_step


@dataclass(frozen=True)
class Transfer:
    """Parameters of the attack.

    Attributes:
        threat: Ball and box.
        loss: What is maximised on the surrogate.
        steps: Gradient steps of each restart.
        step: First step size, halved after half and three quarters of the steps.
        restarts: Starts on the surrogate; an image that is broken is not attacked again.
    """

    threat: ThreatModel
    loss: Loss
    steps: int
    step: StepSize
    restarts: int

    @property
    def own(self) -> bool:
        """True: leaving the threat model would be a bug."""
        return True

    @property
    def iterate(self) -> str:
        """The final iterate: it is farthest beyond the surrogate's boundary."""
        return "final"

    @property
    def definition(self) -> str:
        """For example ``transfer-linf[100, 8/255, step=eps/10 halved at 50% and 75%, margin, …]``."""
        return definitions.transfer(
            norm=self.threat.norm,
            eps=self.threat.eps,
            steps=self.steps,
            step=self.step.text,
            loss=self.loss.name,
            restarts=self.restarts,
        )

    def propose(self, problem: Problem) -> Proposals:
        """Attack the surrogate; what fools the model under attack counts.

        Raises:
            ValueError: The surrogate lacks what the loss needs.
        """
        count = len(problem.images)
        best, success = problem.images.clone(), np.zeros(count, dtype=np.bool_)
        forwards, loss = np.zeros(count), np.full(count, np.nan)
        for restart in range(self.restarts):
            rows = np.flatnonzero(~success)
            if not len(rows):
                break
            part = problem.part(rows).within(f"restart {restart}")
            assert part.surrogate is not None  # the runner checks it
            other = replace(part, model=part.surrogate.model, clean_logits=part.surrogate.clean_logits)
            found = self._run(restart).propose(other)
            fooled = part.judge(found.images, np.arange(len(rows))).success
            takes = fooled | (restart == 0)
            best[torch.from_numpy(rows[takes])] = found.images[torch.from_numpy(takes)]
            loss[rows[takes]] = found.loss[takes]
            forwards[rows] += found.forwards
            success[rows] = fooled
        return Proposals(
            images=best,
            forwards=forwards,
            steps=self.steps,
            loss=loss,
            first_wrong=None,
            first_step=np.full(count, -1, dtype=np.int64),
            has_final=True,
            # Of the surrogate it would say nothing about the model under attack.
            health=GradientHealth.unmeasured(count),
        )

    def _run(self, restart: int) -> PGD:
        return PGD(
            threat=self.threat,
            loss=self.loss,
            steps=self.steps,
            step=self.step,
            restarts=1,
            random_start=True,
            iterate="final",
            survivors_only=False,
            rivals=None,
            targeted=False,
            halve_at=HALVE_AT,
            first_restart=restart,
        )


def build(params: Mapping[str, object], threat: ThreatModel, *, targeted: bool) -> Transfer:
    """Check the parameters of a catalogue entry (see `bench.attacks.catalogue`).

    Raises:
        ValueError: A parameter has a wrong value.
    """
    assert not targeted  # the catalogue says so
    if not np.isfinite(threat.eps):
        raise ValueError("transfer needs a finite eps")
    step = params["step"]
    if not isinstance(step, str | float | int):
        raise ValueError(f"transfer: step must be a number or a string, got {step!r}")
    size, steps = parse_step(step), checked_int("transfer", params, "steps")
    try:
        definitions.checked_reach(steps, size, threat.eps)
    except ValueError as error:
        raise ValueError(f"transfer: {error}") from None
    return Transfer(threat, get_loss(str(params["loss"])), steps, size, checked_int("transfer", params, "restarts"))
