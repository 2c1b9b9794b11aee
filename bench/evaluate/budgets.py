"""Perturbation budgets as a suite gives them: checked, and written in one way."""

from __future__ import annotations

from collections.abc import Iterable

from bench.attacks.threat import LARGEST, format_eps, parse_eps

__all__ = ["written_budgets"]


def written_budgets(values: Iterable[str], norm: str | None) -> tuple[str, ...]:
    """Budgets the way papers write them, ``"8/255"``, in the given order.

    An L_inf budget is at most 1, the whole range of a pixel: every image is within 1 of every other, and what is
    larger was meant in grey levels. An L2 budget has no such bound: its largest distance is the square root of the
    number of pixel values, which a schema does not know, and budgets of 1 to 3 are usual.

    Args:
        values: Fractions or decimals, in units of the pixel range [0, 1].
        norm: ``"linf"``, ``"l2"``, or None if it is not known because it was itself wrong.

    Raises:
        ValueError: A value is no budget, an L_inf budget above 1, any budget above `LARGEST`, or there twice.
    """
    budgets = []
    for value in values:
        eps = parse_eps(value)
        if norm == "linf" and eps > 1:
            meant = format_eps(eps / 255) if eps == int(eps) and eps < 255 else "8/255"
            raise ValueError(
                f'an L_inf eps is in units of the pixel range, so at most 1, got "{value}"; did you mean "{meant}"?'
            )
        if eps > LARGEST:
            raise ValueError(f'an eps is at most {LARGEST:g}, got "{value}"')
        budgets.append(format_eps(eps))
    if len(set(budgets)) != len(budgets):
        raise ValueError("a budget is listed twice")
    return tuple(budgets)
