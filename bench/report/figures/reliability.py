"""Reliability diagrams: accuracy against confidence, one panel for each model and read-out (GMMC paper, Figs. 4 and 5).

The bars of an overconfident model end below the diagonal. A reader of the paper expects bins of equal width; below each
diagram stand the shares of the items that fall into its bins, because a bar of few items says little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.metrics.calibration import ReliabilityCurve, reliability
from bench.report import drawing
from bench.report.cells import Results
from bench.report.figures.item_arrays import NO_CONFIDENCES, confidences
from bench.suite.figures import ReliabilityEntry
from bench.suite.schema import ResolvedFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Diagram", "Diagrams", "figure_of"]


@dataclass(frozen=True)
class Diagram:
    """One panel.

    Attributes:
        label: Label of the model.
        readout: Name of the read-out.
        curve: Accuracy and confidence by bin.
    """

    label: str
    readout: str
    curve: ReliabilityCurve


@dataclass(frozen=True)
class Diagrams(drawing.Drawing):
    """The panels of a figure: a column for each model, a row for each read-out; None where a model lacks one."""

    title: str
    panels: tuple[tuple[Diagram | None, ...], ...]
    caption: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return drawing.width(len(self.panels[0]), 1.8), 2.2 * len(self.panels) + 0.6

    def paint(self, figure: Figure) -> None:
        """Draw each panel with the shares of its bins below it."""
        rows, columns = len(self.panels), len(self.panels[0])
        axes = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, sharey="row", height_ratios=[4, 1] * rows)
        for row, diagrams in enumerate(self.panels):
            for column, diagram in enumerate(diagrams):
                above, below = axes[2 * row][column], axes[2 * row + 1][column]
                if diagram is None:
                    above.set_axis_off()
                    below.set_axis_off()
                else:
                    _paint(above, below, diagram)
            first = next(place for place, diagram in enumerate(diagrams) if diagram is not None)
            for ax, name in ((axes[2 * row][first], "accuracy, %"), (axes[2 * row + 1][first], "items, %")):
                ax.set_ylabel(name)
                ax.tick_params(labelleft=True)
        for ax in axes[-1]:
            ax.set_xlabel("confidence, %")
        drawing.title(figure, self.title)


def figure_of(figure: ResolvedFigure, results: Results) -> Diagrams | str:
    """The diagrams of a ``[[figure]]``, or why there are none.

    Args:
        figure: The figure; its evaluation stored confidence and correctness of each item by read-out.
        results: The results in the store.
    """
    entry = figure.entry
    assert isinstance(entry, ReliabilityEntry)
    bins = entry.bins
    assert bins is not None  # those of the evaluation, if the suite gives none
    rows, sizes, seeds = [], set(), set()
    for readout in entry.readouts:
        row: list[Diagram | None] = []
        for model in figure.models:
            found = confidences(model, figure, readout, results)
            if not found:
                row.append(None)
                continue
            confidence, correct = (np.concatenate([arrays[i] for arrays in found.values()]) for i in (0, 1))
            row.append(Diagram(model.label, readout, reliability(confidence, correct, bins=bins)))
            sizes.add(len(confidence) // len(found))
            seeds.add(len(found))
        rows.append(tuple(row))
    kept = [row for row in rows if any(panel is not None for panel in row)]
    if not kept:
        return NO_CONFIDENCES
    pooled = ""
    if max(seeds) > 1:  # more items have less upward bias
        runs = " to ".join(map(str, sorted({min(seeds), max(seeds)})))
        pooled = f" They are pooled over {runs} seeds, so the ECE is below the mean over seeds that tables print."
    caption = (
        f"Accuracy of the items in each bin of the confidence ({bins} bins of equal width, (lo, hi]); a calibrated "
        "model reaches the diagonal. Hatched: distance to the mean confidence of the bin. Below: share of the items in "
        f"each bin. {drawing.items_of(sizes)}.{pooled}"
    )
    return Diagrams(figure.title, tuple(kept), caption)


def _paint(above: Axes, below: Axes, diagram: Diagram) -> None:
    curve = diagram.curve
    left, width = 100 * curve.edges[:-1], 100 * np.diff(curve.edges)
    filled = curve.count > 0
    accuracy, confidence = 100 * curve.accuracy[filled], 100 * curve.mean_confidence[filled]
    colour = drawing.line_look(0)["color"]
    above.bar(left[filled], accuracy, width[filled], align="edge", color=colour, alpha=0.55, linewidth=0)
    above.bar(
        *(left[filled], confidence - accuracy, width[filled], accuracy),
        align="edge",
        facecolor="none",
        edgecolor="0.35",
        hatch="/////",
        linewidth=0.4,
    )
    above.plot([0, 100], [0, 100], color="0.2", linewidth=0.7, linestyle=(0, (4, 3)))
    above.set_xlim(0, 100)
    above.set_ylim(0, 100)
    name = diagram.label if diagram.readout in ("", "default") else f"{diagram.label}, {diagram.readout}"
    above.set_title(drawing.literal(name))
    above.text(0.04, 0.96, f"ECE {100 * curve.ece:.1f} %", transform=above.transAxes, va="top").set_bbox(
        {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    )
    shares = 100 * _shares(curve.count)
    below.bar(left, shares, width, align="edge", color="0.6", linewidth=0)
    below.set_ylim(0, 100)
    below.set_yticks([0, 100])


def _shares(count: NDArray[np.int64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = count / count.sum()
    return shares
