"""Histograms of out-of-distribution scores (GMMC paper, Table 4): a row for each model, a column for each score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.report import drawing
from bench.report.cells import Results
from bench.report.figures.item_arrays import NO_SCORES, scores_of, stored_sets
from bench.suite.figures import HistogramEntry
from bench.suite.schema import ResolvedFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Histograms", "Panel", "figure_of"]

BINS = 40
_INNER = (0.5, 99.5)
"""Percentiles of all scores of a panel between which its axis lies."""


@dataclass(frozen=True)
class Panel:
    """The scores of one model.

    Attributes:
        label: Label of the model.
        score: Name of the score.
        sets: Scores by data set, the test set first.
    """

    label: str
    score: str
    sets: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Histograms(drawing.Drawing):
    """The panels of a figure by row; None where a model lacks a score."""

    title: str
    panels: tuple[tuple[Panel | None, ...], ...]
    caption: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return drawing.width(len(self.panels[0]), 2.6), 1.45 * len(self.panels) + 0.9

    def paint(self, figure: Figure) -> None:
        """Draw all panels, and a legend of the data sets below them."""
        axes = figure.subplots(len(self.panels), len(self.panels[0]), squeeze=False)
        names: dict[str, None] = {}
        for row, panels in enumerate(self.panels):
            for column, panel in enumerate(panels):
                ax = axes[row][column]
                if panel is None:
                    ax.set_axis_off()
                    continue
                names |= dict.fromkeys(panel.sets)
                _paint(ax, panel, list(names))
                if row == 0:
                    ax.set_title(drawing.literal(panel.score))
                if column == 0:
                    ax.set_ylabel(drawing.literal(panel.label))
        drawing.title(figure, self.title)
        drawing.legend(figure, [(name, drawing.line_look(rank)) for rank, name in enumerate(names)])


def figure_of(figure: ResolvedFigure, results: Results) -> Histograms | str:
    """The histograms of a ``[[figure]]``, or why there are none; of several seeds the first is drawn."""
    entry = figure.entry
    assert isinstance(entry, HistogramEntry)
    sets, remark = stored_sets(figure, entry.scores, entry.sets, results)
    if not sets:
        return NO_SCORES
    rows = []
    for model in figure.models:
        row = []
        for score in entry.scores:
            found = scores_of(model, figure, score, sets, results)
            row.append(Panel(model.label, score, next(iter(found.values()))) if found else None)
        if any(panel is not None for panel in row):
            rows.append(tuple(row))
    if not rows:
        return NO_SCORES
    caption = (
        "Density of the scores of the test set and of each out-of-distribution set, one seed; larger scores say "
        f"in-distribution. Axes end at the {_INNER[0]:g} % and {_INNER[1]:g} % quantiles of all scores.{remark}"
    )
    return Histograms(figure.title, tuple(rows), caption)


def _paint(ax: Axes, panel: Panel, names: list[str]) -> None:
    every = np.concatenate(list(panel.sets.values()))
    low, high = np.percentile(every[np.isfinite(every)], _INNER)
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    for name, scores in panel.sets.items():
        look = drawing.line_look(names.index(name))
        density = np.histogram(np.clip(scores[np.isfinite(scores)], edges[0], edges[-1]), edges, density=True)[0]
        first = name == next(iter(panel.sets))
        ax.stairs(density, edges, color=look["color"], linestyle=look["linestyle"], linewidth=1.1)
        if first:
            ax.stairs(density, edges, color=look["color"], fill=True, alpha=0.18)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.locator_params(axis="x", nbins=4)
