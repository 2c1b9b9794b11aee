"""ROC curves of out-of-distribution detection: a panel for each score and data set, one line for each model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.metrics.ood import missing_as_wrong
from bench.report import drawing
from bench.report.cells import Results
from bench.report.figures.item_arrays import NO_SCORES, TEST, scores_of, stored_sets
from bench.suite.figures import RocEntry
from bench.suite.schema import ResolvedFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Line", "Panel", "RocCurves", "figure_of", "roc_points"]


@dataclass(frozen=True)
class Line:
    """The curve of one model and seed.

    Attributes:
        label: Label of the model.
        rank: Its index among the models of the figure.
        false_positives: Share of out-items above each threshold, increasing from 0 to 1.
        true_positives: Share of in-items above each threshold.
    """

    label: str
    rank: int
    false_positives: NDArray[np.float64]
    true_positives: NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One score against one data set."""

    score: str
    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class RocCurves(drawing.Drawing):
    """The panels by row: a row for each score, a column for each data set."""

    title: str
    panels: tuple[tuple[Panel, ...], ...]
    caption: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return drawing.width(len(self.panels[0]), 2.4), 2.5 * len(self.panels) + 0.7

    def paint(self, figure: Figure) -> None:
        """Draw all panels, and a legend below them."""
        axes = figure.subplots(len(self.panels), len(self.panels[0]), squeeze=False, sharex=True, sharey=True)
        for row, panels in enumerate(self.panels):
            for column, panel in enumerate(panels):
                ax = axes[row][column]
                ax.plot([0, 100], [0, 100], color="0.6", linewidth=0.6, linestyle=(0, (4, 3)))
                for line in panel.lines:
                    look = drawing.line_look(line.rank)
                    ax.plot(100 * line.false_positives, 100 * line.true_positives, **look)
                ax.set_title(drawing.literal(f"{panel.score}, {panel.name}"))
                ax.set_aspect("equal")
                ax.set_xlim(-1, 101)
                ax.set_ylim(-1, 101)
            axes[row][0].set_ylabel("test items kept, %")
        for ax in axes[-1]:
            ax.set_xlabel("other items kept, %")
        drawing.title(figure, self.title)
        drawing.legend_of_lines(figure, [line for panels in self.panels for panel in panels for line in panel.lines])


def roc_points(
    in_scores: NDArray[np.float64], out_scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rate at every threshold, from (0, 0) to (1, 1); ties move both at once.

    Args:
        in_scores: Shape (m,), higher = in-distribution.
        out_scores: Shape (n,).

    >>> roc_points(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    (array([0. , 0. , 0.5, 1. ]), array([0. , 0.5, 1. , 1. ]))
    """
    thresholds = np.unique(np.concatenate([in_scores, out_scores]))[::-1]
    rates = []
    for scores in (out_scores, in_scores):
        above = len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
        rates.append(np.concatenate([[0.0], above / len(scores)]))
    return rates[0], rates[1]


def figure_of(figure: ResolvedFigure, results: Results) -> RocCurves | str:
    """The curves of a ``[[figure]]``, or why there are none; of several seeds the first is drawn."""
    entry = figure.entry
    assert isinstance(entry, RocEntry)
    sets, remark = stored_sets(figure, entry.scores, entry.sets, results)
    rows = []
    for score in entry.scores:
        row = [Panel(score, name, _lines(figure, score, name, results)) for name in sets]
        if any(panel.lines for panel in row):
            rows.append(tuple(row))
    if not rows:
        return NO_SCORES
    caption = (
        "Share of the test items above a threshold of the score, against that of the items of another data set; the "
        "area below is the AUROC. The dashed diagonal is chance. One seed of each model."
        f"{remark}"
    )
    return RocCurves(figure.title, tuple(rows), caption)


def _lines(figure: ResolvedFigure, score: str, name: str, results: Results) -> tuple[Line, ...]:
    lines = []
    for rank, model in enumerate(figure.models):
        found = scores_of(model, figure, score, (name,), results)
        if found:
            sets = next(iter(found.values()))
            inside, outside = missing_as_wrong(sets[TEST], sets[name])
            lines.append(Line(model.label, rank, *roc_points(inside, outside)))
    return tuple(lines)
