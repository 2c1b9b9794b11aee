"""Verdicts that need several jobs: whether accuracy is flat over independently attacked budgets."""

from __future__ import annotations

from dataclasses import replace

from bench.attacks.diagnostics import FLAT_LIMIT, flat_flag
from bench.attacks.threat import parse_eps
from bench.attacks.verdict import WORDS, Flag
from bench.report.cells import Results, of_seed
from bench.report.model import Cell
from bench.report.stored import Curve
from bench.suite.schema import ResolvedColumn, ResolvedModel

__all__ = ["flatness", "with_curve_checks"]

INDEPENDENT_BUDGETS = ("pgd", "adaptive")
"""Evaluations whose arguments are budgets, with one job per budget."""


def with_curve_checks(cell: Cell, model: ResolvedModel, column: ResolvedColumn, results: Results) -> Cell:
    """The cell, with the flag FLAT if its accuracy is a point of a curve that is flat or rises. The verdict becomes
    ``masked``, or ``inconclusive`` if curve or accuracy are too close to the limits to tell.

    The check needs all budgets, and each budget is a job of its own, so that adding one recomputes nothing. Cells of at
    most ``FLAT_LIMIT`` (5 %) are never flagged: masking can hide little at so low an accuracy.
    """
    value = cell.value
    if column.evaluation.evaluation.name not in INDEPENDENT_BUDGETS or cell.verdict is None or value is None:
        return cell
    curves = results.curve(model, column)
    if not curves:
        return cell
    cell = replace(cell, not_measured=tuple(name for name in cell.not_measured if name != "FLAT"))
    raised = [(flag, seed) for seed, curve in curves.items() if (flag := flatness(curve)).raised]
    if not raised or value <= FLAT_LIMIT:
        return cell
    worst, seed = min(raised, key=lambda of_seed: WORDS.index(of_seed[0].implies))
    implied: str = worst.implies
    if cell.interval is not None and cell.interval.low <= FLAT_LIMIT:
        implied = max(implied, "inconclusive", key=WORDS.index)  # the interval includes accuracies too low to flag
    word = min(cell.verdict, implied, key=WORDS.index)
    return replace(cell, verdict=word, flags={**cell.flags, "FLAT": of_seed(worst.text, seed, cell)})


def is_exact(cell: Cell, column: ResolvedColumn) -> bool:
    """Whether a cell is an accuracy of 0 over all its seeds: an upper bound that cannot be too high."""
    return cell.value == 0 and column.column.unit == "fraction" and column.column.direction == "up"


def flatness(curve: Curve) -> Flag:
    """The flag FLAT of one seed's curve (`bench.attacks.diagnostics.flat_flag`); its budgets may be in any order."""
    points = sorted(zip(map(parse_eps, curve.arguments), curve.items, strict=True), key=lambda point: point[0])
    return flat_flag([eps for eps, _ in points], [items for _, items in points], curve.clean)
