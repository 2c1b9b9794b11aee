"""The numbers of the evaluation ``corruption``, from predicted classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.evaluate.base import Column, Number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MEAN", "corruption_numbers"]

MEAN = "accuracy"
"""Metric of the mean over all corruptions and severities."""
_MEANS = (MEAN, "error", "drop")

Which = tuple[str, int]
"""Corruption and severity."""


def corruption_numbers(
    columns: Sequence[Column],
    labels: NDArray[np.int64],
    clean: NDArray[np.int64],
    found: Mapping[Which, NDArray[np.int64]],
    absent: Mapping[Which, str],
) -> tuple[list[Number], dict[str, NDArray[Any]]]:
    """One number for each column, and the arrays over items of those that have a value.

    Items are the sampling unit. The result of an item in a mean is its share of the corruptions under which it is
    right, which is what paired tests compare.

    Args:
        columns: Those of the evaluation.
        labels: (N,), N >= 1.
        clean: (N,) predicted classes of the clean images.
        found: (N,) predicted classes of the images by corruption and severity.
        absent: Why there are none for the other corruptions and severities.
    """
    import numpy as np

    from bench.metrics.predictions import NO_CLASS, absence

    numbers: list[Number] = []
    items: dict[str, NDArray[Any]] = {}
    for column in columns:
        over = _over(column, [*found, *absent])
        missing = [which for which in over if which in absent]
        facts: dict[str, Any] = {
            "metric": column.metric,
            "argument": column.argument,
            "definition": column.definition,
        }
        if missing:
            numbers.append(Number(value=None, n=0, reason=_reason(missing, over, absent), **facts))
            continue
        classes = np.stack([clean if column.metric == "clean" else found[which] for which in over], axis=1)
        lost = int((classes == NO_CLASS).any(axis=1).sum())
        note = absence(lost, len(labels), "test items lack finite logits for an image and count as wrong there")
        value, interval, results = _measured(column, classes == labels[:, None], clean == labels)
        name = f"{column.metric}@{column.argument}" if column.argument else column.metric
        items[name] = results
        numbers.append(
            Number(
                value=value,
                n=len(labels),
                interval=interval,
                items=name,
                not_finite=lost,
                note=note if lost else None,
                **facts,
            )
        )
    return numbers, items


def _over(column: Column, every: Sequence[Which]) -> list[Which]:
    """The corruptions and severities over which the number of a column is a mean; any one for the clean accuracy."""
    if column.metric == "clean":
        return [("", 0)]
    if column.metric in _MEANS:
        return list(every)
    if column.metric == "severity":
        return [which for which in every if str(which[1]) == column.argument]
    return [which for which in every if which[0] == column.metric and column.argument in ("", str(which[1]))]


def _reason(missing: Sequence[Which], over: Sequence[Which], absent: Mapping[Which, str]) -> str:
    first = absent[missing[0]]
    if len(over) == 1:
        return first
    return (
        f"{len(missing)} of its {len(over)} corruptions and severities cannot be made, such as: {first}; "
        "leave them out of corruptions or severities, which defines another mean"
    )


def _measured(column: Column, right: NDArray[np.bool_], clean: NDArray[np.bool_]) -> tuple[float, Any, NDArray[Any]]:
    """Value, interval, and results over items (N,) of a column, from (N, A) and (N,) answers."""
    import numpy as np

    from bench.metrics.intervals import Interval, agresti_min_ends, normal_quantile
    from bench.metrics.repeated import conditions_proportion

    shares = right[:, 0] if right.shape[1] == 1 else right.mean(axis=1)
    if column.metric == "drop":
        lost = clean - shares.astype(np.float64)
        low, high = agresti_min_ends(lost, normal_quantile(0.95))
        return float(lost.mean()), Interval(max(low, -1.0), min(high, 1.0), 0.95, "agresti and min"), lost
    interval = conditions_proportion(right)
    if column.metric == "error":
        wrong = ~right[:, 0] if right.shape[1] == 1 else 1 - shares
        return float(1 - right.mean()), replace(interval, low=1 - interval.high, high=1 - interval.low), wrong
    return float(right.mean()), interval, shares
