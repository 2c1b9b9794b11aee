"""The chart of a table: accuracy against the size of a perturbation, with one line per model.

Perturbations are those of attacks, by their budget or norm, and others whose size a column names (`Column.axis`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bench.attacks.threat import parse_eps
from bench.metrics.intervals import Interval, student_t, wilson
from bench.report import drawing
from bench.report.cells import Results
from bench.report.model import Cell
from bench.suite.schema import ResolvedColumn, ResolvedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

__all__ = ["Chart", "Line", "Panel", "chart_of"]

GREY_LEVELS = 255
"""Scale of L_inf budgets, which are drawn in grey levels, as suites write them. L2 norms have the pixel range as
unit.
"""

_WIDE = 16
"""The axis is logarithmic if the largest budget is at least this multiple of the smallest."""

Point = tuple[float, float, float, float, bool]
"""x, accuracy, lower and upper end of its interval, whether it is masked."""


@dataclass(frozen=True)
class Line:
    """One model in one panel.

    Attributes:
        label: Label of the model.
        rank: Index of the model's row in the table; it determines the look of the line in all panels.
        x: Increasing sizes >= 0, in the unit of the axis.
        y: Accuracies in [0, 1].
        low, high: Ends of the 95 % intervals; equal to ``y`` where there is none.
        masked: For each point, whether the number is known to be too high.
    """

    label: str
    rank: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    masked: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One metric of one evaluation.

    Attributes:
        title: The attack, and the metric if it has a name of its own.
        axis: The quantity ``x``, with its unit.
        lines: One line per model.
        steps: Whether the lines are step functions, continuous from the right, and so exact between their points.
        marks: Sizes that are columns of the table.
        limit: Right end of the axis.
        attacked: Whether the numbers are of an attack, and so upper bounds.
    """

    title: str
    axis: str
    lines: tuple[Line, ...]
    steps: bool
    marks: tuple[float, ...]
    limit: float
    attacked: bool = True


@dataclass(frozen=True)
class Chart(drawing.Drawing):
    """All panels of one table, with title and caption."""

    title: str
    panels: tuple[Panel, ...]
    caption: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        rows, columns = drawing.grid(len(self.panels))
        return drawing.width(columns, 2.9), 2.6 * rows + 0.7

    def paint(self, figure: MatplotlibFigure) -> None:
        """Draw the panels in rows, and a legend below them."""
        _paint(self, *drawing.grid(len(self.panels)), figure)


def chart_of(
    title: str,
    columns: Sequence[ResolvedColumn],
    models: Sequence[ResolvedModel],
    cells: Sequence[Sequence[Cell]],
    results: Results,
) -> Chart | None:
    """The chart of a table, or None if none of its columns are points of a curve, or nothing is measured yet.

    It has a panel for each metric with accuracies at several budgets, through the cells of the table and the clean
    accuracy at 0; a metric whose columns name the stored norms shows the whole curve.

    Args:
        title: The title of the table.
        columns: The columns of the table.
        models: Its measured rows.
        cells: The cells by row and column.
        results: The results in the store.
    """
    panels: list[Panel] = []
    counts: list[set[int]] = []
    for indices in _groups(columns).values():
        chosen = [columns[index] for index in indices]
        lines: list[Line] = []
        items: set[int] = set()
        for rank, model in enumerate(models):
            row = [cells[rank][index] for index in indices]
            if chosen[0].column.curve is not None:
                points = _steps(model, chosen[0], results)
            else:
                points = _points(model, chosen, row, results)
            if len(points) > 1:
                x, y, low, high, masked = zip(*points, strict=True)
                lines.append(Line(model.label, rank, x, y, low, high, masked))
                items |= {cell.n for cell in row if cell.n is not None}
        if lines:
            panels.append(_panel(chosen, lines))
            counts.append(items)
    if not panels:
        return None
    several = any(len(cell.seeds) > 1 for row in cells for cell in row)
    return Chart(title, tuple(panels), _caption(panels, counts, several))


def _groups(columns: Sequence[ResolvedColumn]) -> Mapping[tuple[str, str], list[int]]:
    """By metric, the indices of its columns in order of size; of at least two columns, or one with stored norms."""
    found: dict[tuple[str, str], dict[float, int]] = {}
    for index, column in enumerate(columns):
        size = _size(column)
        if size is not None:
            found.setdefault((column.evaluation.id, column.column.metric), {})[size] = index
    return {
        name: [index for _, index in sorted(sizes.items())]
        for name, sizes in found.items()
        if len(sizes) > 1 or columns[next(iter(sizes.values()))].column.curve is not None
    }


def _size(column: ResolvedColumn) -> float | None:
    """The size of the perturbation of a column of accuracies, in the unit of the axis; None for any other column."""
    if column.column.unit != "fraction" or column.column.direction != "up":
        return None
    try:
        return parse_eps(column.column.argument) * _scale(column)
    except ValueError:
        return None


def _norm(column: ResolvedColumn) -> str | None:
    return "l2" if column.column.curve is not None else getattr(column.evaluation.config, "norm", None)


def _scale(column: ResolvedColumn) -> float:
    return GREY_LEVELS if _norm(column) == "linf" and not column.column.axis else 1


def _panel(columns: Sequence[ResolvedColumn], lines: Sequence[Line]) -> Panel:
    first = columns[0]
    steps = first.column.curve is not None
    attacked = not first.column.axis
    if attacked:
        budgets = {"linf": "L∞ budget in 1/255", "l2": "L2 norm" if steps else "L2 budget"}
        axis = budgets.get(_norm(first) or "", "budget")
        names = dict.fromkeys(column.column.label for column in columns)
        # A label that is the budget itself is not part of the title.
        metric = next(iter(names)) if len(names) == 1 and len(columns) > 1 else ""
    else:
        axis = first.column.axis
        metric = "" if first.column.metric == axis else first.column.metric.replace("_", " ")
    title = ", ".join(text for text in (first.evaluation.evaluation.label(first.evaluation.config), metric) if text)
    marks = [size for column in columns if (size := _size(column)) is not None]
    right = max(float(np.quantile(line.x, 0.99)) if steps else line.x[-1] for line in lines)
    return Panel(title, axis, tuple(lines), steps, tuple(marks), 1.05 * right, attacked)


def _points(
    model: ResolvedModel, columns: Sequence[ResolvedColumn], cells: Sequence[Cell], results: Results
) -> list[Point]:
    points: list[Point] = []
    for column, cell in zip(columns, cells, strict=True):
        size = _size(column)
        # Robust accuracies have a verdict; other accuracies with a numeric argument are drawn if they name its axis.
        if cell.value is None or size is None or (cell.verdict is None and not column.column.axis):
            continue
        if not points:
            clean = [arrays[0] for arrays in results.arrays(model, column, "clean").values()]
            points += [(0.0, *_share(clean), False)] if clean else []
        ends = cell.interval or Interval(cell.value, cell.value, 0.95, "none")
        points.append((size, cell.value, ends.low, ends.high, cell.verdict == "masked"))
    return points


def _steps(model: ResolvedModel, column: ResolvedColumn, results: Results) -> list[Point]:
    """The accuracy at 0 and at every norm at which it falls, mean over seeds."""
    name = str(column.column.curve)
    stored = list(results.arrays(model, column, "clean", name).values())
    finite = [norms[np.isfinite(norms) & clean] for clean, norms in stored]
    radii = np.unique(np.concatenate([[0.0], *finite]))
    return [(float(r), *_share([clean & (norms > r) for clean, norms in stored]), False) for r in radii if stored]


def _share(items: Sequence[NDArray[np.bool_]]) -> tuple[float, float, float]:
    """Share of true items, and its interval: over items for one seed, over seeds for several, as in cells."""
    shares = [float(flags.mean()) for flags in items]
    mean = float(np.mean(shares))
    one = len(items) == 1
    interval = wilson(int(items[0].sum()), len(items[0])) if one else student_t(shares, within=(0.0, 1.0))
    return (mean, interval.low, interval.high) if interval is not None else (mean, mean, mean)


def _caption(panels: Sequence[Panel], counts: Sequence[set[int]], several: bool) -> str:
    """The caption: what lines, points and bands show, and the number of items."""
    attacks, others = ([panel for panel in panels if panel.attacked is attacked] for attacked in (True, False))
    parts = ["Robust accuracy against the size of the perturbation; every value is an upper bound."] if attacks else []
    parts += (
        [f"Accuracy against the {' and the '.join(dict.fromkeys(panel.axis for panel in others))}."] if others else []
    )
    if any(panel.steps for panel in panels):
        parts.append(
            "Steps: the share of all attacked items that are classified correctly and not broken within the L2 norm, "
            "from the norms of one minimal-norm attack."
        )
    if any(not panel.steps for panel in attacks):
        parts.append("Points: budgets that were attacked, and the clean accuracy of the same items at 0.")
    if others:
        parts.append("At 0: the same items without the perturbation.")
    if any(any(line.masked) for panel in panels for line in panel.lines):
        parts.append("Open points are masked: known to be too high.")
    parts.append("Bands: 95% t intervals over seeds." if several else "Bands: 95% Wilson intervals over items.")
    alike = {n for items in counts for n in items}
    if len(alike) == 1:
        parts.append(f"n = {alike.pop():,} items.")
    elif alike:
        each = (f"{panel.title}: {_range(items)}" for panel, items in zip(panels, counts, strict=True) if items)
        parts.append(f"n = {'; '.join(each)}.")
    return " ".join(parts)


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _paint(chart: Chart, rows: int, columns: int, figure: MatplotlibFigure) -> None:
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for place, ax in enumerate(axes.flat):
        if place < len(chart.panels):
            _paint_panel(ax, chart.panels[place])
            ax.set_ylabel("accuracy, %" if place % columns == 0 else "")
        else:
            ax.set_axis_off()
    drawing.title(figure, chart.title)
    shown = {line.rank: line.label for panel in chart.panels for line in panel.lines}
    pointed = any(not panel.steps for panel in chart.panels)
    looks = []
    for rank, label in sorted(shown.items()):
        look = drawing.line_look(rank) | (drawing.marker_look(rank, filled=True) if pointed else {})
        looks.append((label, look))
    drawing.legend(figure, looks)


def _paint_panel(ax: Axes, panel: Panel) -> None:
    ax.set_title(drawing.literal(panel.title))
    ax.set_xlabel(panel.axis)
    ax.set_ylim(-3, 103)
    ax.grid(axis="y", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    for mark in panel.marks if panel.steps else ():
        if mark <= panel.limit:
            ax.axvline(mark, color="0.75", linewidth=0.6, linestyle=(0, (1, 2)), zorder=0.5)
    for line in panel.lines:
        x, y, low, high = (list(values) for values in (line.x, line.y, line.low, line.high))
        if panel.steps:  # the last value holds up to the edge
            x, y, low, high = [*x, max(x[-1], panel.limit)], [*y, y[-1]], [*low, low[-1]], [*high, high[-1]]
        percent = [[100 * value for value in values] for values in (y, low, high)]
        look = drawing.line_look(line.rank)
        step: Literal["post"] | None = "post" if panel.steps else None
        ax.fill_between(x, percent[1], percent[2], step=step, color=look["color"], alpha=0.11, linewidth=0)
        ax.plot(x, percent[0], drawstyle="steps-post" if panel.steps else "default", **look)
        for masked in () if panel.steps else (False, True):
            points = [(x[i], percent[0][i]) for i, flag in enumerate(line.masked) if flag == masked]
            if points:
                marker = drawing.marker_look(line.rank, filled=not masked)
                ax.plot(*zip(*points, strict=True), linestyle="", clip_on=False, **marker)
    smallest = min((x for line in panel.lines for x in line.x if x > 0), default=1.0)
    if not panel.steps and max(panel.marks) / smallest >= _WIDE:
        ax.set_xscale("symlog", base=2, linthresh=smallest)
        ax.set_xlim(0, panel.limit * 1.1)
    else:
        ax.set_xlim(0, panel.limit)
    if not panel.steps:
        ax.set_xticks([0, *panel.marks], [f"{mark:.4g}" for mark in (0, *panel.marks)], minor=False)
        ax.minorticks_off()
