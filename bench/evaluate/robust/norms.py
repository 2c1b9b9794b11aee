"""Shared parts of evaluations that minimise a perturbation: their columns, numbers and arrays.

The minimal norms of one attack give the accuracy at every radius at no further cost: an item is broken within r if its
norm is at most r. This accuracy is an upper bound, which may be loose, because the attack did not optimise for success
at a fixed radius.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from bench.attacks.threat import parse_eps
from bench.evaluate.base import Column, Number, Outcome
from bench.evaluate.robust.accuracies import item_arrays
from bench.evaluate.robust.kept import AdversarialsConfig, Broken, with_images
from bench.evaluate.robust.noise import noise_grid
from bench.evaluate.robust.search import search_facts
from bench.evaluate.robust.under_attack import Subject, UnderAttack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult

__all__ = ["NormConfig", "SmallestNorms", "norm_columns", "norm_items", "norm_numbers", "norm_outcome"]


class NormConfig(AdversarialsConfig):
    """Common parameters of evaluations that minimise the L2 norm of a perturbation."""

    curve: tuple[str, ...] = Field(
        ("0.25", "0.5", "1", "1.5", "2"),
        description="Increasing L2 radii at which accuracy is read off the norms, in units of the pixel range",
    )

    @field_validator("curve")
    @classmethod
    def _radii(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        radii = [parse_eps(value) for value in values]
        if any(radius <= 0 for radius in radii) or any(large <= small for small, large in pairwise(radii)):
            raise ValueError("radii must be positive and increase")
        # L2 radii given as decimals stay decimals, even if they are multiples of 1/255.
        return tuple(
            value.replace(" ", "") if "/" in value else f"{radius:.12g}"
            for value, radius in zip(values, radii, strict=True)
        )


def norm_columns(group: str, attack: str, curve: Sequence[str]) -> tuple[Column, ...]:
    """The columns of one attack: mean over successes (primary), median with failures at infinity, success rate, mean
    over the items that the attack breaks in all rows of a table, and accuracy at each radius.

    Args:
        group: Heading above the columns.
        attack: Definition of the attack.
        curve: Radii of ``NormConfig``.
    """
    summary = (
        Column(
            metric="l2",
            label="mean L2",
            group=group,
            unit="l2",
            direction="up",
            definition=f"mean L2 over successes, pixels in [0, 1]: {attack}",
            primary=True,
        ),
        Column(
            metric="median",
            label="median L2",
            group=group,
            unit="l2",
            direction="up",
            definition=f"median L2 with failures at infinity, pixels in [0, 1]: {attack}",
        ),
        Column(
            metric="success",
            label="success",
            group=group,
            unit="fraction",
            direction="down",
            definition=f"share of clean-correct items that were broken: {attack}",
        ),
        Column(
            metric="common",
            label="mean L2, common",
            group=group,
            unit="l2",
            direction="up",
            definition=(
                "mean L2 over the items that every model of the table classifies correctly and on every model the "
                f"attack breaks, pixels in [0, 1]: {attack}"
            ),
            test="permutation",
            across="l2",
        ),
    )
    points = (
        Column(
            metric="robust",
            argument=radius,
            label=f"L2 ≤ {radius}",
            group=group,
            unit="fraction",
            direction="up",
            definition=(
                f"share of all attacked items that are classified correctly and not broken within L2 {radius}, an "
                f"upper bound from one minimal-norm attack: {attack}"
            ),
            test="mcnemar",
            curve="l2",
        )
        for radius in curve
    )
    return (*summary, *points)


def norm_items(result: AttackResult, columns: Sequence[Column]) -> dict[str, NDArray[Any]]:
    """The stored arrays (N,): identities, whether items were classified correctly and broken, norms (infinite where an
    item was not broken), and whether items are robust at each radius.

    Args:
        result: Result of the attack, in L2 over pixels in [0, 1].
        columns: Columns of ``norm_columns``.
    """
    norms = result.l2_with_failures
    return {
        "ids": result.ids,
        "clean": result.clean_correct,
        "success": result.success,
        "l2": norms,
        **{_name(c): _robust(result, c) for c in columns if c.metric == "robust"},
    }


def _name(column: Column) -> str:
    return f"robust@{column.argument}"


def _robust(result: AttackResult, column: Column) -> NDArray[np.bool_]:
    robust: NDArray[np.bool_] = result.clean_correct & (result.l2_with_failures > parse_eps(column.argument))
    return robust


def norm_numbers(result: AttackResult, columns: Sequence[Column], seed: int) -> list[Number]:
    """The numbers of ``norm_columns``, except for the mean across rows.

    Norms and success are over attacked items, those with a correct clean prediction; accuracies are over all items. If
    some attacked items were not broken, the numbers are ``inconclusive`` (flag MINNORM), because a longer attack may
    break them.

    Args:
        result: Result of the attack, in L2 over pixels in [0, 1].
        columns: Columns of ``norm_columns``.
        seed: Seed of the bootstrap interval of the mean.
    """
    import math

    import numpy as np

    from bench.metrics.intervals import bootstrap_mean, median_interval, wilson

    norms = result.l2_with_failures[result.clean_correct]
    finite = norms[np.isfinite(norms)]
    attacked, broken = len(norms), len(finite)
    definition = {column.metric: column.definition for column in columns if not column.argument}
    failed = attacked - broken
    flags = {"MINNORM": f"{failed} of {attacked} attacked items were not broken"} if failed else {}
    word = "inconclusive" if failed else "no warning"
    nothing = None if attacked else "no item is classified correctly"
    # Failures are infinite.
    middle = float(np.median(norms)) if attacked else math.nan
    median = middle if math.isfinite(middle) else None
    ends = median_interval(norms) if median is not None else None
    # Records hold finite numbers, so that an interval without an upper end is a remark.
    open_ = ends is not None and math.isinf(ends.high)
    summary_numbers = [
        Number(
            metric="l2",
            value=float(finite.mean()) if len(finite) else None,
            n=len(finite),
            interval=bootstrap_mean(finite, seed, within=(0.0, math.inf)) if len(finite) > 1 else None,
            definition=definition["l2"],
            items="l2",
            reason=nothing or (None if len(finite) else "no attack succeeded"),
            verdict=word,
            flags=flags,
        ),
        Number(
            metric="median",
            value=median,
            n=attacked,
            interval=None if open_ else ends,
            definition=definition["median"],
            reason=nothing or (None if median is not None else "fewer than half were broken"),
            verdict=word,
            flags=flags,
            note=f"95 % interval from {ends.low:.3f} to infinity" if ends is not None and open_ else None,
        ),
        Number(
            metric="success",
            value=broken / attacked if attacked else None,
            n=attacked,
            interval=wilson(broken, attacked) if attacked else None,
            definition=definition["success"],
            reason=nothing,
        ),
    ]
    points = []
    for column in columns:
        if column.metric == "robust":
            robust = _robust(result, column)
            points.append(
                Number(
                    metric="robust",
                    argument=column.argument,
                    value=float(robust.mean()),
                    n=len(robust),
                    interval=wilson(int(robust.sum()), len(robust)),
                    definition=column.definition,
                    items=_name(column),
                    verdict=word,
                    flags=flags,
                )
            )
    return [*summary_numbers, *points]


def norm_outcome(
    config: NormConfig, result: AttackResult, columns: Sequence[Column], more: Mapping[str, NDArray[Any]]
) -> Outcome:
    """The outcome of an evaluation: numbers, arrays and, if ``config`` asks for them, adversarial images.

    Args:
        config: Parameters, among them the seed of intervals.
        result: Result of the attack.
        columns: Columns of ``norm_columns``.
        more: Further arrays over items.
    """
    items = {**norm_items(result, columns), **item_arrays(result), **more}
    numbers = norm_numbers(result, columns, config.seed)
    facts: dict[str, Any] = {
        "attack": result.definition,
        "not_finite": int((~result.clean_finite).sum()),
        **search_facts(config, result),
    }
    broken = [Broken("l2", "", "l2", None, result.success, result.adversarials)] if config.adversarials else None
    return with_images(Outcome(numbers, items, details=facts), broken)


class SmallestNorms(UnderAttack):
    """An evaluation of the norms that one attack without a budget finds.

    Its parameters have ``attack``, the attack with these parameters, and ``definition``, its text.
    """

    def columns(self, config: Any) -> tuple[Column, ...]:
        """The columns of `norm_columns`."""
        return norm_columns(self.label(config), config.definition, config.curve)

    def measure(self, config: Any, subject: Subject) -> Outcome:
        """Attack without a budget, and draw the noise of the first broken images."""
        targets = subject.targets
        result = subject.attack(config.attack, seed=config.seed, **targets)
        outcome = norm_outcome(config, result, self.columns(config), targets)
        grid = noise_grid(subject.images, result.adversarials, result.success)
        if grid is None:
            return outcome
        from bench.evaluate.samples import picture

        return replace(outcome, files={**outcome.files, "noise.png": picture(grid)})
