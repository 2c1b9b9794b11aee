"""Charts as PNG pictures, through matplotlib: imported here, when a chart is drawn, and nowhere else."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from typing import TYPE_CHECKING, Any, Literal

from bench.plain import plain
from bench.report.chart import Chart, Line, Panel
from bench.report.model import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DPI", "draw", "draw_all"]

DPI = 200

# Okabe and Ito's palette, which colour-blind readers tell apart; styles and markers serve readers without colour.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_PANELS_A_ROW = 3
_WIDE = 16
"""From this ratio of the largest budget to the smallest on, the axis is logarithmic."""


def draw_all(report: Report) -> dict[str, bytes]:
    """The PNG files of all charts of a report, by id of their table."""
    return {table.id: draw(table.chart) for table in report.tables if table.chart is not None}


def draw(chart: Chart) -> bytes:
    """A chart as a PNG file. The bytes are a function of the chart and the version of matplotlib."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = min(len(chart.panels), _PANELS_A_ROW)
    rows = math.ceil(len(chart.panels) / columns)
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # not what the user's own style file says
        mpl.rcParams.update({"font.size": 8, "axes.titlesize": 8, "axes.spines.top": False, "axes.spines.right": False})
        # A letter that the font lacks is drawn as a box; that is no reason to lose the report.
        warnings.filterwarnings("ignore", message=".*Glyph")
        width = 4.2 if columns == 1 else 2.9 * columns
        figure = Figure(figsize=(width, 2.6 * rows + 0.7), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for place, ax in enumerate(axes.flat):
            if place < len(chart.panels):
                _draw_panel(ax, chart.panels[place])
                ax.set_ylabel("accuracy, %" if place % columns == 0 else "")
            else:
                ax.set_axis_off()
        title = chart.title.replace(" <= ", "\u00a0<=\u00a0")  # not to be broken there
        figure.suptitle("\n".join(map(_plain, textwrap.wrap(plain(title), int(13 * width)))), fontsize=9)
        shown = {line.rank: line for panel in chart.panels for line in panel.lines}
        pointed = any(not panel.steps for panel in chart.panels)
        looks = [_look(line) | (_marker(line, masked=False) if pointed else {}) for _, line in sorted(shown.items())]
        handles = [Line2D([], [], **look) for look in looks]
        labels = [_plain(line.label) for _, line in sorted(shown.items())]
        longest = max(map(len, labels))
        figure.legend(
            handles, labels, loc="outside lower center", frameon=False, handlelength=3,
            ncols=max(1, min(len(labels), int(width / (0.075 * longest + 0.7)))),
        )  # fmt: skip
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _draw_panel(ax: Axes, panel: Panel) -> None:
    ax.set_title(_plain(panel.title))
    ax.set_xlabel(panel.axis)
    ax.set_ylim(-3, 103)
    ax.grid(axis="y", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    for mark in panel.marks if panel.steps else ():
        if mark <= panel.limit:
            ax.axvline(mark, color="0.75", linewidth=0.6, linestyle=(0, (1, 2)), zorder=0.5)
    for line in panel.lines:
        x, y, low, high = (list(values) for values in (line.x, line.y, line.low, line.high))
        if panel.steps:  # the last value holds on to the edge
            x, y, low, high = [*x, max(x[-1], panel.limit)], [*y, y[-1]], [*low, low[-1]], [*high, high[-1]]
        percent = [[100 * value for value in values] for values in (y, low, high)]
        look = _look(line)
        step: Literal["post"] | None = "post" if panel.steps else None
        ax.fill_between(x, percent[1], percent[2], step=step, color=look["color"], alpha=0.11, linewidth=0)
        ax.plot(x, percent[0], drawstyle="steps-post" if panel.steps else "default", **look)
        for masked in () if panel.steps else (False, True):
            points = [(x[i], percent[0][i]) for i, flag in enumerate(line.masked) if flag == masked]
            if points:
                ax.plot(*zip(*points, strict=True), linestyle="", clip_on=False, **_marker(line, masked=masked))
    smallest = min((x for line in panel.lines for x in line.x if x > 0), default=1.0)
    if not panel.steps and max(panel.marks) / smallest >= _WIDE:
        ax.set_xscale("symlog", base=2, linthresh=smallest)
        ax.set_xlim(0, panel.limit * 1.1)
    else:
        ax.set_xlim(0, panel.limit)
    if not panel.steps:
        ax.set_xticks([0, *panel.marks], [f"{mark:.4g}" for mark in (0, *panel.marks)], minor=False)
        ax.minorticks_off()


def _look(line: Line) -> dict[str, Any]:
    return {
        "color": _COLOURS[line.rank % len(_COLOURS)],
        "linestyle": _STYLES[line.rank % len(_STYLES)],
        "linewidth": 1.3,
    }


def _marker(line: Line, *, masked: bool) -> dict[str, Any]:
    colour = _COLOURS[line.rank % len(_COLOURS)]
    return {
        "marker": _MARKERS[line.rank % len(_MARKERS)],
        "markersize": 4.5,
        "markerfacecolor": "white" if masked else colour,
        "markeredgecolor": colour,
    }


def _plain(text: str) -> str:
    """Text that matplotlib takes as it stands: no formulas, no label that it hides."""
    escaped = plain(text).replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
