"""Projected gradient ascent in the L_inf or L2 ball (Madry et al. 2018, eq. 4), with any loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import model_validator
from typing_extensions import override

from .losses import get_loss, visited
from .spec import Attack, Count, LossName, Precision, Step, Switch, one_of, restarts_text, search_text
from .threat import ThreatModel, format_eps, parse_step

if TYPE_CHECKING:
    from .problem import Problem
    from .table import Found

__all__ = ["PGDAttack"]


class PGDAttack(Attack):
    """The defaults follow the attack of the GMMC and JEM papers: uniform start in the ball, clipped to [0, 1]; 40 steps
    of eps/30; cross-entropy; final iterate. Results are deterministic, and independent of batching up to the last bits
    of the network's kernels.

    Attributes:
        steps: Gradient steps of each restart.
        step: Step size; see `bench.attacks.threat.parse_step`.
        loss: The loss that is maximised.
        restarts: Independent starts; broken images are not attacked again.
        random_start: Whether to start uniformly in the ball, else at the image.
        iterate: ``"final"``: the last iterate decides; ``"any"``: one wrong iterate is enough.
        survivors_only: Whether to drop an image once an iterate was wrong; only with ``iterate = "any"``.
        rivals: Number of rivals, by decreasing clean logit, for losses that visit rivals; None: all.
        search_precision: ``"float32"``; ``"bf16"``: the backbone searches in bfloat16, and of several restarts the last
            in float32 on what is left; ``"auto"``: bf16 where the device has instructions for it.
    """

    name: ClassVar[str] = "pgd"
    summary: ClassVar[str] = "Projected gradient ascent; loss, step and restarts to choose; final and any iterate."
    source: ClassVar[str] = "Madry et al. 2018, arXiv:1706.06083"
    startable: ClassVar[bool] = True

    steps: Count = 40
    step: Step = "eps/30"
    loss: LossName = "ce"
    restarts: Count = 1
    random_start: Switch = True
    iterate: Annotated[str, one_of("final", "any")] = "final"
    survivors_only: Switch = False
    rivals: Count | None = None
    search_precision: Precision = "float32"

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.survivors_only and self.iterate != "any":
            raise ValueError("survivors_only drops images at their first wrong iterate, so it needs iterate = 'any'")
        if self.rivals is not None and not get_loss(self.loss).per_rival:
            raise ValueError(f"rivals has no meaning for loss {self.loss!r}, only for losses '...-targeted'")
        return self

    @property
    @override
    def decided_by(self) -> str:
        return self.iterate

    @property
    @override
    def is_random(self) -> bool:
        return self.random_start

    def definition(self, threat: ThreatModel, targets: str | None = None) -> str:
        """For example ``pgd-linf[40, 8/255, step=eps/30, ce, final iterate, 1 restart]``."""
        loss = get_loss(self.loss)
        goal = targets or (visited(self.rivals) if loss.per_rival else None)
        return self.defined(threat, loss.name if goal is None else f"{loss.name}, {goal}")

    def defined(self, threat: ThreatModel, losses: str) -> str:
        """The definition with ``losses`` as text, because evaluations name several."""
        parts = [str(self.steps), format_eps(threat.eps), f"step={parse_step(self.step).text}", losses]
        parts += [f"{self.iterate} iterate", restarts_text(self.restarts)]
        parts += [] if self.random_start else ["start at the image"]
        parts += ["survivors only"] if self.survivors_only else []
        parts += search_text(self.search_precision, "last restart" if self.restarts > 1 else None)
        return f"pgd-{threat.norm}[{', '.join(parts)}]"

    def passes(self) -> float:
        """A forward pass and an input gradient per step."""
        return 2.0 * self.steps * self.restarts

    def check(self, threat: ThreatModel, *, targeted: bool) -> None:
        """Check that the loss has a form for given targets.

        Raises:
            ValueError: It has none, or the checks of `Attack.check` fail.
        """
        super().check(threat, targeted=targeted)
        if targeted and not get_loss(self.loss).targetable:
            raise ValueError(f"pgd: loss {self.loss!r} has no targeted form; use 'margin' or 'ce' with targets")

    def attack(self, problem: Problem) -> Found:
        """Attack all images, batch by batch."""
        from .ascent import climb
        from .table import Found

        table = climb(
            problem,
            get_loss(self.loss),
            steps=self.steps,
            step=self.step,
            restarts=range(self.restarts),
            random_start=self.random_start,
            survivors_only=self.survivors_only,
            rivals=self.rivals,
        )
        return Found(table, steps=self.steps, has_final=not self.survivors_only)
