"""Shared parts of evaluations at fixed budgets: parameters, one job per budget, and columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from bench.attacks.threat import LARGEST, ThreatModel, format_eps, parse_eps, parse_step
from bench.evaluate.base import Column, Part
from bench.evaluate.robust.accuracies import AttackSeedsConfig, paired_test, repeated
from bench.evaluate.robust.under_attack import UnderAttack

__all__ = ["BudgetsConfig", "OnBudgets", "written_budgets"]


class BudgetsConfig(AttackSeedsConfig):
    """Common parameters of evaluations at budgets."""

    norm: Literal["linf", "l2"] = Field("linf", description="Norm of the perturbation")
    eps: tuple[str, ...] = Field(min_length=1, description='Budgets in units of the pixel range, such as "8/255"')
    items: PositiveInt = Field(1000, description="Attacked test items: the first of the fixed order")
    batch_size: PositiveInt = Field(128, description="Items of a forward pass; changes no verdict of the gradients")

    @field_validator("eps", mode="before")
    @classmethod
    def _budgets_in_quotes(cls, value: Any, info: ValidationInfo) -> Any:
        return budgets_in_quotes(value, info.data.get("norm"))

    @field_validator("step", mode="before", check_fields=False)
    @classmethod
    def _step_in_quotes(cls, value: Any) -> Any:
        if isinstance(value, int | float):
            raise ValueError(f'expected a text: "eps/30", or absolute such as "2/255", got {_as_written(value)}')
        return value

    @field_validator("eps")
    @classmethod
    def _budgets(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return written_budgets(values, info.data.get("norm"))

    @field_validator("step", check_fields=False)
    @classmethod
    def _step(cls, value: str, info: ValidationInfo) -> str:
        step = parse_step(value)
        if info.data.get("norm") == "linf" and not step.relative and step.value > 1:
            raise ValueError(
                f'an absolute step in L_inf is in units of the pixel range, so at most 1, got "{value}"; did you mean '
                f'"{_in_levels(step.value)}"?'
            )
        return step.text

    def threat(self, eps: str) -> ThreatModel:
        """The threat model of a budget."""
        return ThreatModel(self.norm, parse_eps(eps))


def budgets_in_quotes(value: Any, norm: str | None) -> Any:
    """The budgets as they are given.

    Raises:
        ValueError: A number, or one budget that is no list. The hint has what the suite should say: a whole number of
            L_inf is meant in grey levels, and with quotes alone it would be the next mistake.
    """
    alone = not isinstance(value, list | tuple)
    for one in [value] if alone else value:
        number = isinstance(one, int | float) and not isinstance(one, bool)
        if number or (alone and isinstance(one, str)):
            meant = f'"{_in_levels(one) if number and norm == "linf" else one}"'
            expected = "a list of texts" if alone else "a text in units of the pixel range"
            given = _as_written(one) if number else f'"{one}"'
            raise ValueError(f"expected {expected}, got {given}; write {f'[{meant}]' if alone else meant}")
    return tuple(value) if isinstance(value, list) else value  # strict schemas take no lists but those of JSON


def _in_levels(number: float) -> str:
    """The L_inf budget that a number means: a whole one is in grey levels, and what can be none is the usual budget."""
    if 0 < number < 1:
        return f"{number:g}"
    return f"{int(number)}/255" if 1 <= number < 255 and number == int(number) else "8/255"


def _as_written(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def written_budgets(values: Iterable[str], norm: str | None) -> tuple[str, ...]:
    """Budgets as papers write them, ``"8/255"``, in the given order.

    An L_inf budget is at most 1, the whole range of a pixel: the distance of two images is at most 1, so a larger value
    was probably meant in grey levels. An L2 budget has no such limit: the largest distance is the square root of the
    number of pixel values, which a schema does not know, and budgets of 1 to 3 are usual.

    Args:
        values: Fractions or decimals, in units of the pixel range [0, 1].
        norm: ``"linf"``, ``"l2"``, or None if the given norm was invalid.

    Raises:
        ValueError: A value is not a budget, an L_inf budget is above 1, a budget is above `LARGEST` or listed twice.

    >>> written_budgets(["8/255", "0.5"], "linf")
    ('8/255', '0.5')
    """
    budgets = []
    for value in values:
        eps = parse_eps(value)
        if norm == "linf" and eps > 1:
            raise ValueError(
                f'an L_inf eps is in units of the pixel range, so at most 1, got "{value}"; did you mean '
                f'"{_in_levels(eps)}"?'
            )
        if eps > LARGEST:
            raise ValueError(f'an eps is at most {LARGEST:g}, got "{value}"')
        budgets.append(format_eps(eps))
    if len(set(budgets)) != len(budgets):
        raise ValueError("a budget is listed twice")
    return tuple(budgets)


class OnBudgets(UnderAttack):
    """An evaluation at fixed budgets: every budget is an independent attack and a separate job."""

    def parts(self, config: Any) -> tuple[Part, ...]:
        """One job per budget, so that adding a budget does not recompute the others."""
        return tuple(Part(eps, config.model_copy(update={"eps": (eps,)})) for eps in config.eps)

    def robust_columns(self, config: Any, definition: Callable[[str], str]) -> tuple[Column, ...]:
        """Columns of the robust accuracy at each budget.

        Args:
            config: Parameters of the evaluation.
            definition: Returns the definition under one attack seed for a budget.
        """
        return tuple(
            Column(
                metric="robust",
                argument=eps,
                label=eps,
                group=self.label(config),
                unit="fraction",
                direction="up",
                definition=repeated(config, definition(eps)),
                primary=True,
                test=paired_test(config),
            )
            for eps in config.eps
        )
