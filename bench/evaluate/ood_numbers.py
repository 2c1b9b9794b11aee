"""The numbers of out-of-distribution detection, from scores of the test items and of other sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bench.evaluate.base import Column, Number
from bench.evaluate.ood_scores import Fit
from bench.metrics.intervals import Interval
from bench.metrics.ood import auroc, average_precision, fpr_at_tpr, missing_as_wrong
from bench.metrics.ood_inference import FEWEST, fpr_interval, mean_auroc_interval
from bench.metrics.predictions import absence

__all__ = ["number", "no_number"]

Scores = npt.NDArray[np.float64]

_VALUES: Mapping[str, Callable[[Scores, Scores], float]] = {
    "auroc": auroc,
    "fpr95-out": lambda inside, outside: fpr_at_tpr(inside, outside, positive="out"),
    "fpr95-in": lambda inside, outside: fpr_at_tpr(inside, outside, positive="in"),
    "aupr-out": lambda inside, outside: average_precision(inside, outside, positive="out"),
    "aupr-in": lambda inside, outside: average_precision(inside, outside, positive="in"),
}


def number(column: Column, metric: str, inside: Scores, outside: Mapping[str, Scores], fit: Fit) -> Number:
    """The number of a column: of one set, or the mean over several.

    Args:
        column: The column.
        metric: ``"auroc"``, ``"fpr95-out"``, ``"fpr95-in"``, ``"aupr-out"`` or ``"aupr-in"``.
        inside: Scores of the test items, NaN where there is none.
        outside: Scores of the items of each set, by its name.
        fit: What the score learnt from training items.
    """
    sizes = {"test": inside, **outside}
    absent = {which: int(np.isnan(scores).sum()) for which, scores in sizes.items()}
    said = {which: absence(absent[which], len(sizes[which]), f"{which} items have no finite score") for which in sizes}
    lost = [said[which] for which in sizes if absent[which] == len(sizes[which])]
    reason = fit.reason or " and ".join(lost) or None
    n = sum(map(len, sizes.values()))
    if reason is not None:
        return no_number(column, reason, n=n, not_finite=0 if fit.reason else sum(absent.values()))
    pairs = [missing_as_wrong(inside, scores) for scores in outside.values()]
    interval, without = _interval(metric, pairs, sizes)
    some = [said[which] for which in sizes if absent[which]]
    remarks = [
        *([f"{' and '.join(some)}, and count as ranked wrongly"] if some else []),
        *([fit.note] if fit.note else []),
        *([f"no interval: {without}"] if without else []),
        *([_chance(metric, sizes)] if metric.startswith("aupr") else []),
    ]
    return Number(
        metric=column.metric,
        argument=column.argument,
        value=float(np.mean([_VALUES[metric](*pair) for pair in pairs])),
        n=n,
        interval=interval,
        items=column.metric.removesuffix(f".{metric}") if column.test is not None else None,
        definition=column.definition,
        not_finite=sum(absent.values()),
        note="; ".join(remarks) or None,
    )


def no_number(column: Column, reason: str, *, n: int = 0, not_finite: int = 0) -> Number:
    """The number of a column that has no value, with the reason.

    Args:
        column: The column.
        reason: Why it has none.
        n: Items on which it would be measured; 0 if they are missing.
        not_finite: Of these, items without a finite score.
    """
    return Number(
        metric=column.metric,
        argument=column.argument,
        value=None,
        n=n,
        definition=column.definition,
        reason=reason,
        not_finite=not_finite,
    )


def _interval(
    metric: str, pairs: Sequence[tuple[Scores, Scores]], sizes: Mapping[str, Scores]
) -> tuple[Interval | None, str | None]:
    """The interval of a number, or why it has none."""
    if metric == "auroc":
        # The variance is over items of both sets and needs at least two of each.
        alone = [f"{len(scores):,} {which} item" for which, scores in sizes.items() if len(scores) < 2]
        if alone:
            return None, " and ".join(alone)
        return mean_auroc_interval(pairs), None
    if metric.startswith("aupr"):
        return None, "none of the average precision is known to cover"
    if len(pairs) > 1:
        return None, "none of a mean of FPR95 is known to cover"
    few = [f"{len(scores):,} {which} items" for which, scores in sizes.items() if len(scores) < FEWEST]
    if few:
        return None, f"{' and '.join(few)}, fewer than {FEWEST}"
    return fpr_interval(*pairs[0], positive="out" if metric == "fpr95-out" else "in"), None


def _chance(metric: str, sizes: Mapping[str, Scores]) -> str:
    """The sizes on which the average precision depends, and its value by chance."""
    inside, *others = map(len, sizes.values())
    positive = [inside if metric == "aupr-in" else other for other in others]
    shares = np.array(positive) / (inside + np.array(others))
    listed = ", ".join(f"{len(scores):,} {which}" for which, scores in sizes.items())
    return f"{listed} items, chance {shares.mean():.1%}"
