"""Shared parts of the evaluations that run adaptive PGD: its parameters and checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, PositiveInt, WithJsonSchema, field_validator, model_validator

from bench.attacks.adaptive import ADAPTIVE_LOSSES, KNOWN_LOSSES, AdaptivePGD
from bench.attacks.losses import listed_losses, loss_schema
from bench.attacks.spec import restarts_text
from bench.evaluate.robust.accuracies import healthiest, stacked
from bench.evaluate.robust.budgets import BudgetsConfig
from bench.evaluate.robust.search import SearchConfig

if TYPE_CHECKING:
    from bench.attacks import AttackResult, Flag

__all__ = ["LossesConfig", "white_box_flags"]


class LossesConfig(BudgetsConfig, SearchConfig):
    """Parameters of adaptive PGD."""

    losses: tuple[Annotated[str, WithJsonSchema(loss_schema(KNOWN_LOSSES))], ...] = Field(
        ADAPTIVE_LOSSES,
        min_length=1,
        description="Losses in the order of attack; ce@T chooses T by the median clean gap; distance needs centers",
    )
    steps: PositiveInt = Field(100, description="Gradient steps of each run")
    step: str = Field("eps/10", description="First step size, halved after 50 % and 75 % of the steps")
    restarts: PositiveInt = Field(5, description="Rounds over all losses, each from other random starts")
    rivals: PositiveInt = Field(9, description="Rivals that the losses ...-targeted visit, by decreasing clean logit")

    @field_validator("losses")
    @classmethod
    def _losses(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return listed_losses(values, KNOWN_LOSSES)

    @model_validator(mode="after")
    def _reach(self) -> Self:
        for eps in self.eps:
            self.attack.check(self.threat(eps), targeted=False)
        return self

    @property
    def attack(self) -> AdaptivePGD:
        """Adaptive PGD with these parameters."""
        names = ("losses", "steps", "step", "restarts", "rivals", "search_precision")
        given = {name: getattr(self, name) for name in names}
        return AdaptivePGD().configured({**given, "complete": getattr(self, "complete", False)})


def white_box_flags(results: Sequence[AttackResult], restarts: int) -> list[Flag]:
    """GRAD0 of the healthiest loss, LOSSGAP and ITER of adaptive PGD.

    Args:
        results: One result per attack seed, on the same items.
        restarts: Rounds over all losses.
    """
    import numpy as np

    from bench.attacks.diagnostics import iter_flag, loss_gap_flag

    runs = [(result, result.composition) for result in results if result.composition is not None]
    if not runs:
        return []
    half = (restarts + 1) // 2
    members = runs[0][1].members
    # The worst case is as reliable as its healthiest member: a masked loss does not weaken it.
    flags = healthiest(
        [flag for name in members if (flag := _health([run.facts[name] for _, run in runs])) is not None]
    )
    robust = stacked([result.robust for result, _ in runs])
    by_loss = {
        loss: stacked([result.clean_correct & (run.broken_at[:, number] < 0) for result, run in runs])
        for number, loss in enumerate(members)
    }
    flags.append(loss_gap_flag(robust, by_loss, "the worst case"))
    if half < restarts:
        early = [((run.broken_at >= 0) & (run.broken_at < half)).any(axis=1) for _, run in runs]
        left = stacked([result.clean_correct & ~broken for (result, _), broken in zip(runs, early, strict=True)])
        flags.append(iter_flag(np.asarray(left), robust, restarts_text(half), restarts_text(restarts)))
    return flags


def _health(facts: Sequence[Mapping[str, float]]) -> Flag | None:
    """GRAD0 of one loss over all attack seeds, at the start or the last step of its first round, whichever has more
    zero gradients; None if it attacked no item.
    """
    from bench.attacks.diagnostics import gradient_flag

    starts = sum(fact.get("attacked", 0.0) for fact in facts)
    if not starts:
        return None
    zero, certain = (
        sum(fact[name] * fact["attacked"] for fact in facts if fact.get("attacked")) / starts
        for name in ("zero_gradient_share", "certain_share")
    )
    return gradient_flag(min(zero, 1.0), min(certain, 1.0), round(starts), "starts or last steps")
