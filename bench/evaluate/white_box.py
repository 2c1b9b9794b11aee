"""What the evaluations that run adaptive PGD share: its parameters, definition, cost and checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, WithJsonSchema, field_validator, model_validator

from bench.attacks import catalogue, definitions
from bench.attacks.catalogue import ADAPTIVE_LOSSES
from bench.attacks.parameters import checked_loss, loss_schema
from bench.attacks.threat import parse_eps, parse_step
from bench.evaluate.attack_seeds import AttackSeedsConfig, stacked
from bench.evaluate.robust import healthiest

if TYPE_CHECKING:
    from bench.attacks import AttackResult, Flag

__all__ = [
    "LossesConfig",
    "attack_definition",
    "attack_parameters",
    "losses_impossible",
    "loss_metric",
    "passes_per_item",
    "white_box_flags",
]

_LOSSES = (*ADAPTIVE_LOSSES, "ce", "distance")


class LossesConfig(AttackSeedsConfig):
    """Parameters of adaptive PGD that do not depend on the budget."""

    norm: Literal["linf", "l2"] = Field("linf", description="Norm of the perturbation")
    losses: tuple[Annotated[str, WithJsonSchema(loss_schema(_LOSSES))], ...] = Field(
        ADAPTIVE_LOSSES,
        min_length=1,
        description="Losses in the order of attack; ce@T chooses T by the median clean gap; distance needs centers",
    )
    steps: PositiveInt = Field(100, description="Gradient steps of each run")
    step: str = Field("eps/10", description="First step size, halved after 50 % and 75 % of the steps")
    restarts: PositiveInt = Field(5, description="Rounds over all losses, each from other random starts")
    rivals: PositiveInt = Field(9, description="Rivals that the losses ...-targeted visit, by decreasing clean logit")
    items: PositiveInt = Field(1000, description="Attacked test items: the first of the fixed order")
    batch_size: PositiveInt = Field(128, description="Items of a forward pass; changes no verdict of the gradients")

    @model_validator(mode="after")
    def _reach(self) -> Self:
        budgets = getattr(self, "eps", None)
        for eps in budgets or (None,):
            definitions.checked_reach(self.steps, parse_step(self.step), None if eps is None else parse_eps(eps))
        return self

    @field_validator("step")
    @classmethod
    def _step(cls, value: str) -> str:
        return parse_step(value).text

    @field_validator("losses")
    @classmethod
    def _losses(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        names = [checked_loss(value, _LOSSES) for value in values]
        if len(set(names)) != len(values):
            raise ValueError("a loss is listed twice")
        return values


def loss_metric(loss: str) -> str:
    """The name of a loss in a column, where ``@`` has a meaning of its own: ``ce@T`` is ``ce-t``."""
    return {"ce@T": "ce-t"}.get(loss, loss.replace("@", "-t"))


def passes_per_item(config: LossesConfig) -> float:
    """Forward-equivalents of one run of adaptive PGD for an item that survives all of it."""
    runs = sum(config.rivals if loss.endswith("-targeted") else 1 for loss in config.losses)
    return 2.0 * runs * config.steps * config.restarts


def attack_definition(config: LossesConfig, eps: str, *, complete: bool) -> str:
    """The definition that the attack itself gives."""
    return definitions.adaptive_pgd(
        norm=config.norm,
        eps=parse_eps(eps),
        steps=config.steps,
        step=config.step,
        losses=config.losses,
        rivals=config.rivals,
        restarts=config.restarts,
        complete=complete,
    )


def attack_parameters(config: LossesConfig) -> dict[str, Any]:
    """What ``bench.attacks.run`` takes for the entry ``adaptive_pgd``, without the budget and the seed."""
    return {
        "norm": config.norm,
        "batch_size": config.batch_size,
        "losses": config.losses,
        "steps": config.steps,
        "step": config.step,
        "restarts": config.restarts,
        "rivals": config.rivals,
    }


def losses_impossible(config: LossesConfig, image_shape: tuple[int, int, int], classes: int) -> str | None:
    """Why adaptive PGD has nothing to attack with, or None."""
    params = {"losses": config.losses}
    return catalogue.find("adaptive_pgd").impossible(config.norm, params, image_shape, classes)


def white_box_flags(results: Sequence[AttackResult], restarts: int) -> list[Flag]:
    """The checks of adaptive PGD: the healthiest loss has gradients, no loss beats the worst case, it converged.

    Args:
        results: One an attack seed, on the same items.
        restarts: Rounds over all losses.
    """
    import numpy as np

    from bench.attacks.diagnostics import iter_flag, loss_gap_flag

    runs = [(result, result.composition) for result in results if result.composition is not None]
    if not runs:
        return []
    half = (restarts + 1) // 2
    members = runs[0][1].members
    # The worst case is as trustworthy as its healthiest member: a masked loss takes nothing away from it.
    flags = healthiest(
        [flag for name in members if (flag := _health([run.facts[name] for _, run in runs])) is not None]
    )
    robust = stacked([result.robust for result, _ in runs])
    by_loss = {
        loss: stacked([result.clean_correct & (run.broken_at[:, number] < 0) for result, run in runs])
        for number, loss in enumerate(members)
    }
    flags.append(loss_gap_flag(robust, by_loss))
    if half < restarts:
        early = [((run.broken_at >= 0) & (run.broken_at < half)).any(axis=1) for _, run in runs]
        left = stacked([result.clean_correct & ~broken for (result, _), broken in zip(runs, early, strict=True)])
        names = [f"{count} restart{'s' if count > 1 else ''}" for count in (half, restarts)]
        flags.append(iter_flag(np.asarray(left), robust, *names))
    return flags


def _health(facts: Sequence[Mapping[str, float]]) -> Flag | None:
    """GRAD0 of one loss over all attack seeds, at the start or the last step of its first round, whichever has more
    zero gradients; None where it attacked nothing.
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
