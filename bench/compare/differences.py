"""The difference of one number between two sides, with an interval and a p value where one is justified.

Two questions are kept apart. *Are these weights different?* has the test items as its sample: both sides are measured
on the same items, with one training seed or with the mean over several. *Are these families different?* has the
training seeds as its sample. A test of one question says nothing about the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.attacks.verdict import WORDS
from bench.compare.sides import Side
from bench.metrics.difference import (
    Difference,
    accuracy_difference,
    independent_difference,
    mean_difference,
    seed_difference,
    share_difference,
    unpaired_seed_difference,
)
from bench.report.items import Items, common_items, mean_over_seeds, scored_difference, with_finite_values
from bench.report.stored import Measurement
from bench.suite.schema import ResolvedColumn

__all__ = ["Compared", "mean_of", "means_of", "of_families", "of_weights"]


@dataclass(frozen=True)
class Compared:
    """A number of one side less that of the other, the baseline.

    Attributes:
        difference: The difference; None with a ``reason``.
        reason: Why there is no difference, or a remark on it.
        n: Number of items behind it.
        seeds: Training seeds of the first side behind it.
        verdict: The worse verdict of both sides, for robustness.
        records: Keys of the records behind it, of both sides.
    """

    difference: Difference | None
    reason: str | None = None
    n: int | None = None
    seeds: tuple[int, ...] = ()
    verdict: str | None = None
    records: tuple[str, ...] = ()


def of_weights(mine: Side, other: Side, column: ResolvedColumn, *, same_items: bool = True) -> Compared:
    """The difference between these weights, over test items.

    Args:
        mine: The measured side.
        other: The baseline.
        column: The column of the number.
        same_items: Whether equal ids name equal items on both sides; if not, nothing is paired.
    """
    found = _numbers(mine, other, column)
    if isinstance(found, str):
        return Compared(None, found)
    common = _of_common_seeds(*found)
    if isinstance(common, str):
        return Compared(None, common)
    a, b, partly = common
    facts = Compared(
        None,
        partly,
        n=min(one.number.n for one in (*a, *b)),
        seeds=tuple(one.job.seed for one in a),
        verdict=_worst(a, b),
        records=tuple(one.job.key for one in (*a, *b)),
    )
    if same_items and column.column.test == "auroc":
        return _by_area(mine, other, column, (a, b), facts)
    items = [_items(side, column, found) for side, found in ((mine, a), (other, b))] if same_items else [None, None]
    if items[0] is not None and items[1] is not None:
        return _paired(items[0], items[1], column, facts)
    if len(a) > 1:
        return replace(facts, reason="no paired test over items for this number; see the difference over seeds")
    ends = [one.number.interval for one in (a[0], b[0])]
    values = [float(one.number.value or 0.0) for one in (a[0], b[0])]
    return replace(facts, difference=independent_difference(values[0], ends[0], values[1], ends[1]))


def of_families(mine: Side, other: Side, column: ResolvedColumn) -> Compared:
    """The difference between these families, over training seeds; arguments as in `of_weights`."""
    found = _numbers(mine, other, column)
    if isinstance(found, str):
        return Compared(None, found)
    a, b = ({one.job.seed: one for one in side} for side in found)
    shared = sorted(set(a) & set(b))
    partly = None
    if len(shared) > 1:
        partly = _alone(shared) if len(shared) < max(len(a), len(b)) else None
        a, b = ({seed: side[seed] for seed in shared} for side in (a, b))
    elif min(len(a), len(b)) < 2:
        return Compared(None, "one seed: it does not show how runs vary")
    both = (*a.values(), *b.values())
    values_a, values_b = ([float(one.number.value or 0.0) for one in side.values()] for side in (a, b))
    if len(shared) > 1:
        difference = seed_difference(np.subtract(values_a, values_b))
    else:
        difference = unpaired_seed_difference(values_a, values_b)
    low, high = column.column.bounds
    return Compared(
        _within(difference, high - low),
        partly,
        n=min(one.number.n for one in both),
        seeds=tuple(a),
        verdict=_worst(tuple(a.values()), tuple(b.values())),
        records=tuple(one.job.key for one in both),
    )


def _numbers(mine: Side, other: Side, column: ResolvedColumn) -> tuple[list[Measurement], list[Measurement]] | str:
    """The numbers of both sides, or why one has none."""
    sides = []
    for side in (mine, other):
        readout = column.column.readout
        if readout is not None and readout not in side.model.family.readouts:
            return f"{side.model.label}: no read-out {readout!r}"
        if column.column.across is not None:
            values, missing = side.stored.values(side.model, column)
            found = [one.of for one in values]
        else:
            found, missing = side.stored.numbers(side.model, column)
        if not found:
            reason, label = missing[0].reason if missing else "no job gives it", side.model.label
            return reason if reason.startswith(label) else f"{label}: {reason}"
        sides.append(found)
    return sides[0], sides[1]


def _of_common_seeds(
    mine: Sequence[Measurement], other: Sequence[Measurement]
) -> tuple[list[Measurement], list[Measurement], str | None] | str:
    """The numbers of both sides of the seeds that both have, and a remark if seeds are left out; or why there are none.

    One number of each side is compared even if the seeds differ.
    """
    seeds = sorted({one.job.seed for one in mine} & {one.job.seed for one in other})
    if not seeds and not len(mine) == len(other) == 1:
        return "no training seed in common"
    if not seeds or len(seeds) == max(len(mine), len(other)):
        return list(mine), list(other), None
    a, b = ([one for one in side if one.job.seed in seeds] for side in (mine, other))
    return a, b, _alone(seeds)


def _alone(seeds: Sequence[int]) -> str:
    """The remark on a comparison that leaves seeds out."""
    return f"over seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))} alone, which both sides have"


def _items(side: Side, column: ResolvedColumn, numbers: Sequence[Measurement]) -> dict[int, Items] | None:
    """By seed, ids and results over items; None if a seed has none."""
    if column.column.across is not None:
        stored = {one.of.job.seed: one for one in side.stored.values(side.model, column)[0]}
        return {
            one.job.seed: with_finite_values(stored[one.job.seed].ids, stored[one.job.seed].values) for one in numbers
        }
    found = side.stored.items(side.model, column)
    return {one.job.seed: found[one.job.seed] for one in numbers} if found else None


def _paired(mine: dict[int, Items], other: dict[int, Items], column: ResolvedColumn, facts: Compared) -> Compared:
    shares = all(values.dtype == np.bool_ for side in (mine, other) for _, values in side.values())
    rows = {
        name: mean_over_seeds([side[seed] for seed in sorted(side)])
        for name, side in (("mine", mine), ("other", other))
    }
    (ids, values), (_, against) = common_items(rows).values()
    if len(ids) < 2:
        return replace(facts, reason="fewer than two items in common")
    if values.dtype == against.dtype == np.bool_:
        difference = accuracy_difference(values, against)
    elif not (np.isfinite(values).all() and np.isfinite(against).all()):
        common = [one for one in column.evaluation.columns if one.across is not None]
        hint = f"; {column.evaluation.id}.{common[0].metric} is over the items that all have" if common else ""
        return replace(facts, reason=f"an item has no finite value{hint}")
    elif shares or column.column.bounds == (0.0, 1.0):
        difference = share_difference(values, against, column.evaluation.config.seed)
    else:
        difference = mean_difference(values, against, column.evaluation.config.seed)
    return replace(facts, difference=difference, n=len(ids))


def _by_area(
    mine: Side,
    other: Side,
    column: ResolvedColumn,
    numbers: tuple[Sequence[Measurement], Sequence[Measurement]],
    facts: Compared,
) -> Compared:
    """The difference of AUROCs from the stored scores of both sides."""
    sides = []
    for side, found in zip((mine, other), numbers, strict=True):
        scored = side.stored.scores(side.model, column)
        if not scored:
            return replace(facts, reason=f"{side.model.label}: its scores of each item are not stored")
        sides.append({one.job.seed: scored[one.job.seed] for one in found})
    compared = scored_difference(sides[0], sides[1])
    if compared is None:
        return replace(facts, reason="fewer than two items of a set in common")
    return replace(facts, difference=compared[0], n=compared[1])


def _within(difference: Difference, most: float) -> Difference:
    """The difference with its interval cut to the range of differences: two accuracies differ by 1 at most."""
    interval = difference.interval
    if interval is None or (interval.low >= -most and interval.high <= most):
        return difference
    cut = replace(interval, low=max(interval.low, -most), high=min(interval.high, most))
    return replace(difference, interval=replace(cut, kind=f"{interval.kind}, cut to [{-most:g}, {most:g}]"))


def _worst(a: Sequence[Measurement], b: Sequence[Measurement]) -> str | None:
    verdicts = [one.number.verdict for one in (*a, *b) if one.number.verdict]
    return min(verdicts, key=WORDS.index) if verdicts else None


def mean_of(side: Side, column: ResolvedColumn) -> float | None:
    """The mean over all seeds of the numbers of a side; None if it has none."""
    return _mean(side.stored.numbers(side.model, column)[0])


def means_of(mine: Side, other: Side, column: ResolvedColumn) -> tuple[float, float, str | None] | str:
    """The means of two sides that have numbers, over the seeds that `of_weights` compares, and its remark on them; or
    why they cannot be compared.
    """
    sides = (side.stored.numbers(side.model, column)[0] for side in (mine, other))
    common = _of_common_seeds(*sides)
    if isinstance(common, str):
        return common
    a, b, partly = common
    now, before = _mean(a), _mean(b)
    return "no number of a seed in common" if now is None or before is None else (now, before, partly)


def _mean(numbers: Sequence[Measurement]) -> float | None:
    values = [float(one.number.value) for one in numbers if one.number.value is not None]
    return float(np.mean(values)) if values else None
