"""Figures. Each module of this folder, but ``item_arrays``, is one kind of figure.

``curves`` draws the chart of a table. The others draw what ``[[figure]]`` of a suite asks for: the module has
``figure_of``, which takes the figure and the results and returns a `bench.report.drawing.Drawing`, or the reason why
nothing can be drawn. Nothing is computed but what a picture needs of stored arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench.report.cells import Results
from bench.report.drawing import Drawing
from bench.report.figures import learning, reliability, risk_coverage, roc, samples, score_histograms, tsne
from bench.suite.schema import ResolvedFigure

__all__ = ["KINDS", "figures_of", "safely"]

KINDS: Mapping[str, Callable[[ResolvedFigure, Results], Drawing | str]] = {
    "reliability": reliability.figure_of,
    "risk-coverage": risk_coverage.figure_of,
    "score-histograms": score_histograms.figure_of,
    "roc": roc.figure_of,
    "learning": learning.figure_of,
    "t-sne": tsne.figure_of,
    "samples": samples.figure_of,
}
"""The function that draws each kind; `bench.suite.figures.FIGURES` has their options."""


def figures_of(figures: Sequence[ResolvedFigure], results: Results) -> dict[str, Drawing | str]:
    """By id, each figure, or the reason why it cannot be drawn.

    Args:
        figures: Figures of the suite.
        results: The results in the store.
    """
    return {figure.id: safely(partial(KINDS[figure.entry.kind], figure, results)) for figure in figures}


def safely(make: Callable[[], Drawing | str]) -> Drawing | str:
    """A figure with its files drawn, or why that failed: one figure must not cost a report its tables."""
    try:
        made = make()
        if not isinstance(made, str):
            _ = made.png, made.pdf  # drawn once and kept
    except Exception as error:
        return f"could not be drawn: {type(error).__name__}: {error}"
    return made
