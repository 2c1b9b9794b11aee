"""Adaptive PGD: several losses in turn, so that robustness does not rest on one loss (Tramèr et al. 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator
from typing_extensions import override

from .losses import AUTOMATIC, LOSSES, TYPICAL_GAP, Loss, get_loss, listed_losses, tempered
from .spec import HALVE_AT, Count, Decaying, Precision, Shape, Step, Switch, halved_text, restarts_text, search_text
from .threat import ThreatModel, format_eps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .problem import Problem
    from .table import Found

__all__ = ["ADAPTIVE_LOSSES", "KNOWN_LOSSES", "AdaptivePGD", "temperature"]

ADAPTIVE_LOSSES = (AUTOMATIC, "margin", "margin-targeted", "distance-targeted", "dlr")
"""Losses in the order of attack; T is derived from the median clean gap of the model."""
KNOWN_LOSSES = (*LOSSES, AUTOMATIC)
"""The losses that adaptive PGD accepts."""


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if not listed_losses(names, KNOWN_LOSSES):
        raise ValueError("must be a list of at least one loss, got ()")
    return names


def temperature(clean_gaps: NDArray[np.floating[Any]]) -> float:
    """T such that the median of clean_gaps / T is 5.5, to three digits; 1 if that is not finite and positive.

    Args:
        clean_gaps: (N,) z_y - max_{k != y} z_k of correctly classified images.
    """
    import numpy as np

    found = float(f"{float(np.median(clean_gaps)) / TYPICAL_GAP:.3g}")
    return found if np.isfinite(found) and found > 0 else 1.0


class AdaptivePGD(Decaying):
    """In every restart, each loss attacks the images that no earlier loss or restart broke. The step size is halved
    after half and after three quarters of a run; one wrong iterate is enough.

    Attributes:
        losses: Names in the order of attack.
        steps: Gradient steps of each run.
        step: First step size.
        restarts: Rounds over all losses, each from different starts.
        rivals: How many rivals the losses ``...-targeted`` visit, by decreasing clean logit.
        complete: Whether every loss attacks every image until this loss breaks it, so that sole wins are known.
        search_precision: As of `bench.attacks.pgd.PGDAttack`; a restart is a round over all losses.
    """

    name: ClassVar[str] = "adaptive_pgd"
    summary: ClassVar[str] = (
        "PGD with several losses in turn, each on what the ones before left; any iterate; decaying steps."
    )
    source: ClassVar[str] = "Tramèr et al. 2020, arXiv:2002.08347; Carlini et al. 2019, arXiv:1902.06705"
    targetable: ClassVar[bool] = False
    startable: ClassVar[bool] = True

    losses: Annotated[tuple[str, ...], AfterValidator(_each_once)] = ADAPTIVE_LOSSES
    steps: Count = 100
    step: Step = "eps/10"
    restarts: Count = 5
    rivals: Count = 9
    complete: Switch = False
    search_precision: Precision = "float32"

    @property
    @override
    def decided_by(self) -> str:
        return "any"

    @property
    def _losses(self) -> list[Loss]:
        return [get_loss(name, KNOWN_LOSSES) for name in self.losses]

    def definition(self, threat: ThreatModel, targets: str | None = None) -> str:  # noqa: ARG002 - takes none
        """For example ``adaptive-pgd-linf[100, 8/255, step=eps/10 halved at 50% and 75%, losses …]``."""
        parts = [str(self.steps), format_eps(threat.eps), halved_text(self.step)]
        parts.append("losses " + " + ".join(self._described(loss) for loss in self._losses))
        parts += ["any iterate", restarts_text(self.restarts)]
        parts.append("every loss on every image" if self.complete else "each loss on what is left")
        parts += search_text(self.search_precision, "last restart" if self.restarts > 1 else None)
        return f"adaptive-pgd-{threat.norm}[{', '.join(parts)}]"

    def _described(self, loss: Loss) -> str:
        details = loss.limits(self.rivals)
        details += [f"T: median clean gap / {TYPICAL_GAP}"] if loss.name == AUTOMATIC else []
        details += [f"K >= {loss.min_classes}"] if loss.min_classes > 2 else []
        return f"{loss.name} ({', '.join(details)})" if details else loss.name

    def passes(self) -> float:
        """A forward pass and an input gradient per step, for every loss and rival."""
        runs = sum(self.rivals if loss.per_rival else 1 for loss in self._losses)
        return 2.0 * runs * self.steps * self.restarts

    def impossible(self, norm: str, shape: Shape, classes: int) -> str | None:  # noqa: ARG002
        """Why no loss applies: all of them need more classes; None if one applies."""
        if any(classes >= loss.min_classes for loss in self._losses):
            return None
        return f"{self.name}: none of the losses {', '.join(self.losses)} applies to a model with {classes} classes"

    def attack(self, problem: Problem) -> Found:
        """Attack with every loss that applies to the model.

        Raises:
            ValueError: None of them applies.
        """
        import numpy as np

        from .ascent import climb
        from .in_turn import InTurn

        losses, facts = self._applicable(problem)
        turns = InTurn(problem, tuple(facts), facts, keep="closest")
        for restart in range(self.restarts):
            for number, loss in enumerate(losses):
                rows = turns.left(number if self.complete else None)
                if not len(rows):
                    continue
                name = turns.composition.members[number]
                # Every loss has its own starts: equal starts would lead to the same corners of the ball.
                start = restart * len(losses) + number
                part = problem.part(rows).within(f"restart {restart}, {name}")
                if restart == self.restarts - 1 and restart > 0:
                    part = part.in_float32()
                found = climb(
                    part, loss, steps=self.steps, step=self.step,
                    restarts=range(start, start + 1), halve_at=HALVE_AT, survivors_only=True, rivals=self.rivals,
                )  # fmt: skip
                turns.take(rows, number, found, found["first"], restart)
                if restart == 0:
                    facts[name] |= {
                        "attacked": float(len(rows)),
                        "zero_gradient_share": found.health.zero_gradient_share,
                        "certain_share": found.health.certain_share,
                    }
        # Losses differ in scale, so one column of values of several losses has no meaning.
        turns.table["loss"].fill_(np.nan)
        return turns.found(self.steps, any_iterate=True)

    def _applicable(self, problem: Problem) -> tuple[list[Loss], dict[str, dict[str, float]]]:
        """The losses that apply to the model, and the facts on each that are known before the attack."""
        from .losses import margins

        classes, centers = problem.clean_logits.shape[1], problem.model.has_centers
        losses: list[Loss] = []
        facts: dict[str, dict[str, float]] = {}
        for loss in self._losses:
            name = loss.name
            if loss.lacking(centers, classes) is not None:
                continue
            facts[name] = {}
            if name == AUTOMATIC:
                chosen = temperature(-margins(problem.clean_logits, problem.labels).double().numpy())
                loss, facts[name] = tempered(chosen), {"T": chosen}
            losses.append(loss)
        if not losses:
            raise ValueError(
                f"adaptive_pgd: none of the losses {', '.join(self.losses)} applies to a model with {classes} classes "
                f"and {'' if centers else 'no '}class centers"
            )
        return losses, facts
