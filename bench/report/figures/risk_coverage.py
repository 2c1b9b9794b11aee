"""Risk-coverage curves: the error rate of the most confident share of the items, one line for each model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics.selective import risk_coverage
from bench.report import drawing
from bench.report.cells import Results
from bench.report.figures.item_arrays import NO_CONFIDENCES, confidences
from bench.suite.figures import RiskCoverageEntry
from bench.suite.schema import ResolvedFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Curves", "Line", "figure_of", "risk_at"]

GRID = np.linspace(0.01, 1.0, 100)
"""The coverages at which curves are drawn."""


@dataclass(frozen=True)
class Line:
    """The curve of one model: risk in [0, 1] at the coverages of ``GRID``, the mean over seeds.

    Attributes:
        label: Label of the model.
        rank: Its index among the models of the figure, which determines the look of the line.
        risk: Shape (100,).
    """

    label: str
    rank: int
    risk: NDArray[np.float64]


@dataclass(frozen=True)
class Curves(drawing.Drawing):
    """A panel for each read-out."""

    title: str
    panels: tuple[tuple[str, tuple[Line, ...]], ...]
    caption: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        rows, columns = drawing.grid(len(self.panels))
        return drawing.width(columns, 2.9), 2.5 * rows + 0.7

    def paint(self, figure: Figure) -> None:
        """Draw the panels in rows, and a legend below them."""
        rows, columns = drawing.grid(len(self.panels))
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for place, ax in enumerate(axes.flat):
            if place >= len(self.panels):
                ax.set_axis_off()
                continue
            readout, lines = self.panels[place]
            for line in lines:
                ax.plot(100 * GRID, 100 * line.risk, **drawing.line_look(line.rank))
            ax.set_title(drawing.literal(readout))
            ax.set_xlabel("coverage, %")
            ax.set_ylabel("error rate, %" if place % columns == 0 else "")
            ax.set_xlim(0, 100)
            ax.set_ylim(bottom=0)
        drawing.title(figure, self.title)
        drawing.legend_of_lines(figure, [line for _, lines in self.panels for line in lines])


def risk_at(confidence: NDArray[Any], correct: NDArray[Any], coverage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Error rate of the most confident items, at shares of the items.

    Items of equal confidence count as a group: where a share ends inside of one, each of its items counts with the
    share of the group that is taken, so that the order of the items has no effect.

    Args:
        confidence: Shape (n,).
        correct: Shape (n,), booleans.
        coverage: Shares in (0, 1], shape (m,).

    Returns:
        Error rates in [0, 1], shape (m,).

    >>> risk_at(np.array([0.9, 0.5, 0.5]), np.array([True, True, False]), np.array([1 / 3, 2 / 3, 1.0]))
    array([0.        , 0.25      , 0.33333333])
    """
    curve = risk_coverage(confidence, correct)
    errors = np.interp(coverage, [0.0, *curve.coverage], [0.0, *(curve.coverage * curve.risk)])
    risk: NDArray[np.float64] = errors / coverage
    return risk


def figure_of(figure: ResolvedFigure, results: Results) -> Curves | str:
    """The curves of a ``[[figure]]``, or why there are none; arguments as for reliability diagrams."""
    entry = figure.entry
    assert isinstance(entry, RiskCoverageEntry)
    panels: list[tuple[str, tuple[Line, ...]]] = []
    sizes: set[int] = set()
    for readout in entry.readouts:
        lines = []
        for rank, model in enumerate(figure.models):
            found = confidences(model, figure, readout, results)
            if found:
                risks = [risk_at(confidence, correct, GRID) for confidence, correct in found.values()]
                lines.append(Line(model.label, rank, np.mean(risks, axis=0)))
                sizes |= {len(arrays[0]) for arrays in found.values()}
        if lines:
            panels.append((readout, tuple(lines)))
    if not panels:
        return NO_CONFIDENCES
    return Curves(figure.title, tuple(panels), _caption(sizes))


def _caption(sizes: set[int]) -> str:
    return (
        "Error rate of the items with the largest confidence, against their share of all items; at 100 % it is the "
        f"error rate of the model. Mean over seeds. {drawing.items_of(sizes)}."
    )
