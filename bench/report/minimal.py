"""Checks that need the norms of another evaluation: is a perturbation minimal, is an accuracy contradicted (MINNORM).

Another attack of the suite may find smaller perturbations than an attack that minimises them. Such a perturbation may
also lie in a ball in which an attack with a budget found none. Jobs do not read each other, so the report compares the
stored arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.diagnostics import contradiction_flag, minimal_norm_flag
from bench.attacks.threat import parse_eps
from bench.attacks.verdict import WORDS, Flag
from bench.report.cells import Results, of_seed
from bench.report.model import Cell
from bench.report.verdicts import is_exact
from bench.suite.schema import ResolvedColumn, ResolvedEvaluation, ResolvedModel

__all__ = ["with_norm_checks"]

NORM = "l2"
"""The array that evaluations that minimise a perturbation store: the L2 norm per item, infinite if not broken."""
STORED = {"linf": "linf", "l2": "norm_l2"}
"""By norm of a budget, the stored array with that norm of each perturbation."""
BY_GRADIENT = ("pgd", "adaptive", "eps-sweep")
"""Evaluations whose attacks follow gradients towards a wrong class within a budget."""


def with_norm_checks(cell: Cell, model: ResolvedModel, column: ResolvedColumn, results: Results) -> Cell:
    """The cell, with the flag MINNORM if the norms of other evaluations contradict it.

    A norm is contradicted if other evaluations found smaller perturbations of the same items. An accuracy within a
    budget is contradicted if an evaluation that minimises perturbations broke items inside that budget that this attack
    left.
    """
    verdict = cell.verdict
    if cell.value is None or verdict is None or is_exact(cell, column):
        return cell
    minimising = results.evaluations_with(NORM)
    others = [evaluation for evaluation in minimising if evaluation.id != column.evaluation.id]
    if _minimises(column.evaluation):
        flags = list(_norm_flags(model, column, others, results))
    else:
        flags = list(_budget_flags(model, column, others, results))
    if not flags:
        return cell
    cell = replace(cell, not_measured=tuple(name for name in cell.not_measured if name != "MINNORM"))
    raised = [(flag, seed) for flag, seed in flags if flag.raised]
    if not raised:
        return cell
    worst, seed = min(raised, key=lambda of: WORDS.index(of[0].implies))
    text = "; ".join(part for part in (cell.flags.get("MINNORM"), of_seed(worst.text, seed, cell)) if part)
    word = min(verdict, worst.implies, key=WORDS.index)
    return replace(cell, verdict=word, flags={**cell.flags, "MINNORM": text})


def _minimises(evaluation: ResolvedEvaluation) -> bool:
    return any(column.across == NORM for column in evaluation.columns)


def _norm_flags(
    model: ResolvedModel, column: ResolvedColumn, others: list[ResolvedEvaluation], results: Results
) -> Iterator[tuple[Flag, int]]:
    """Per seed with norms of other evaluations, a flag over the items that one of them also attacked; and the seed."""
    # A perturbation towards a given class need not be smaller than one towards any class.
    if getattr(column.evaluation.config, "targets", "none") != "none":
        return
    own = results.stored(model, column.evaluation.id, "", "ids", NORM)
    found = {other.id: results.stored(model, other.id, "", "ids", NORM) for other in others}
    for seed, (ids, norms) in own.items():
        known = {name: seeds[seed] for name, seeds in found.items() if seed in seeds}
        if not known:
            continue
        shared = np.isin(ids, np.concatenate([attacked for attacked, _ in known.values()]))
        if np.isfinite(norms[shared]).any():
            aligned = {name: _aligned(ids[shared], *arrays) for name, arrays in known.items()}
            yield minimal_norm_flag(norms[shared], aligned), seed


def _budget_flags(
    model: ResolvedModel, column: ResolvedColumn, others: list[ResolvedEvaluation], results: Results
) -> Iterator[tuple[Flag, int]]:
    """A flag, and its seed, for each other evaluation and seed with norms of the same items."""
    moved = STORED.get(getattr(column.evaluation.config, "norm", ""))
    if (
        not others
        or moved is None
        or column.evaluation.evaluation.name not in BY_GRADIENT
        or column.column.direction != "up"
    ):
        return
    robust = results.booleans(model, column)
    eps = parse_eps(column.column.argument)
    for other in others:
        found: Mapping[int, list[NDArray[Any]]] = results.stored(model, other.id, "", "ids", NORM, moved)
        for seed, (ids, left) in robust.items():
            if seed in found:
                other_ids, norms, sizes = found[seed]
                inside = np.where(np.isfinite(norms), sizes, np.inf)
                shared = np.isin(ids, other_ids)
                if shared.any():
                    broken = _aligned(ids[shared], other_ids, inside) <= eps
                    found_left = np.where(broken, left.dtype.type(0), left[shared])
                    yield contradiction_flag(left[shared], found_left, other.id), seed


def _aligned(ids: NDArray[np.int64], other: NDArray[np.int64], values: NDArray[Any]) -> NDArray[np.float64]:
    """The values of the items ``ids``, (len(ids),); infinite where ``other`` lacks an id."""
    aligned = np.full(len(ids), np.inf)
    _, here, there = np.intersect1d(ids, other, return_indices=True)
    aligned[here] = values[there]
    return aligned
