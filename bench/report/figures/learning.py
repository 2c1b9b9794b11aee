"""Learning curves: what training logged at each epoch, one line for each model (GMMC paper, Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.report import drawing
from bench.report.cells import Results
from bench.suite.figures import LearningEntry
from bench.suite.schema import ResolvedFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Curves", "Line", "Panel", "figure_of"]

_PERCENT = frozenset({"validation_accuracy"})


@dataclass(frozen=True)
class Line:
    """One model: the mean over seeds at each epoch that all of them have, with the smallest and the largest value."""

    label: str
    rank: int
    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """One logged quantity."""

    quantity: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Curves(drawing.Drawing):
    """All panels, in one row."""

    title: str
    panels: tuple[Panel, ...]
    caption: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return drawing.width(len(self.panels), 2.9), 3.2

    def paint(self, figure: Figure) -> None:
        """Draw the panels, and a legend below them."""
        axes = figure.subplots(1, len(self.panels), squeeze=False)[0]
        for ax, panel in zip(axes, self.panels, strict=True):
            scale = 100 if panel.quantity in _PERCENT else 1
            for line in panel.lines:
                look = drawing.line_look(line.rank)
                if len(line.epochs) == 1:  # a line of one point is invisible
                    look = look | drawing.marker_look(line.rank, filled=True)
                low, high = (scale * np.asarray(values) for values in (line.low, line.high))
                ax.fill_between(line.epochs, low, high, color=look["color"], alpha=0.12, linewidth=0)
                ax.plot(line.epochs, scale * np.asarray(line.mean), **look)
            ax.set_xlabel("epoch")
            ax.locator_params(axis="x", integer=True)
            ax.set_ylabel(drawing.literal(panel.quantity.replace("_", " ")) + (", %" if scale == 100 else ""))
            values = [value for line in panel.lines for value in line.mean]
            if scale == 1 and min(values) > 0 and max(values) > 50 * min(values):
                ax.set_yscale("log")
        drawing.title(figure, self.title)
        drawing.legend_of_lines(figure, [line for panel in self.panels for line in panel.lines])


def figure_of(figure: ResolvedFigure, results: Results) -> Curves | str:
    """The curves of a ``[[figure]]``, or why there are none.

    Args:
        figure: The figure.
        results: The results in the store; the histories are read from the train jobs of its plan.
    """
    entry = figure.entry
    assert isinstance(entry, LearningEntry)
    panels = []
    for quantity in entry.quantities:
        lines = []
        for rank, model in enumerate(figure.models):
            histories = [
                history
                for job in results.plan.jobs
                if job.kind == "train" and job.model == model.name and results.states[job.key].state == "done"
                if (history := results.store.folder(job.key).history())
            ]
            line = _line(model.label, rank, histories, quantity)
            lines += [line] if line is not None else []
        if lines:
            panels.append(Panel(quantity, tuple(lines)))
    if not panels:
        return "no training is finished, or none logged these quantities"
    caption = (
        "Logged by training at the end of each epoch; bands reach from the smallest to the largest value of the seeds."
    )
    return Curves(figure.title, tuple(panels), caption)


def _line(label: str, rank: int, histories: Sequence[Sequence[dict[str, Any]]], quantity: str) -> Line | None:
    found = [
        {entry["epoch"]: float(entry[quantity]) for entry in history if _is_number(entry.get(quantity))}
        for history in histories
    ]
    epochs = sorted(set.intersection(*map(set, found))) if found else []
    if not epochs:
        return None
    values = np.array([[of_seed[epoch] for epoch in epochs] for of_seed in found])
    mean, low, high = (tuple(map(float, one)) for one in (values.mean(0), values.min(0), values.max(0)))
    return Line(label, rank, tuple(epochs), mean, low, high)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
