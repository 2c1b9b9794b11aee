"""Looks of rows, titles, legends and files of all figures. Matplotlib is imported when a figure is drawn."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bench.plain import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DPI",
    "Drawing",
    "class_colour",
    "grid",
    "items_of",
    "legend",
    "legend_of_lines",
    "line_look",
    "literal",
    "marker_look",
    "title",
    "width",
]

DPI = 200
_PANELS_A_ROW = 3
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,  # letters stay text that can be searched and edited; journals ask for it
}

# Okabe and Ito's palette, which colour-blind readers can tell apart. Neighbours in this order differ in lightness, and
# styles and markers differ, for prints without colour.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#56B4E9", "#D55E00", "#CC79A7", "#000000")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


class Drawing(ABC):
    """A figure: its data, from which PNG and PDF files are drawn on demand.

    The bytes of both files depend on the data and the version of matplotlib alone.
    """

    title: str
    """The title, as printed above the figure."""
    caption: str
    """The explanation, as printed below the figure."""

    @property
    @abstractmethod
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""

    @abstractmethod
    def paint(self, figure: Figure) -> None:
        """Draw the data into an empty figure of this size."""

    @cached_property
    def png(self) -> bytes:
        """The content of the PNG file, for the screen."""
        return self._file("png")

    @cached_property
    def pdf(self) -> bytes:
        """The content of the PDF file, in vectors and with embedded fonts, for print."""
        return self._file("pdf")

    def _file(self, kind: Literal["png", "pdf"]) -> bytes:
        import matplotlib as mpl
        from matplotlib.figure import Figure

        with mpl.rc_context(), warnings.catch_warnings():
            mpl.rcdefaults()  # the user's own style file is ignored
            mpl.rcParams.update(_STYLE)
            # A letter that the font lacks is drawn as a box; its warning must not end the report.
            warnings.filterwarnings("ignore", message=".*Glyph")
            figure = Figure(figsize=self.size, layout="constrained")
            self.paint(figure)
            buffer = io.BytesIO()
            # Without these entries the file holds neither the time nor the version of matplotlib.
            metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None, "Creator": None}}
            figure.savefig(buffer, format=kind, dpi=DPI, facecolor="white", metadata=metadata[kind])
        return buffer.getvalue()


def grid(panels: int) -> tuple[int, int]:
    """Rows and columns of panels in rows of three; the last row may be shorter."""
    columns = min(panels, _PANELS_A_ROW)
    return math.ceil(panels / columns), columns


def width(columns: int, panel: float) -> float:
    """Width in inches of a figure, so that its letters of 8 points are at least 6 points high in print.

    Up to two columns of panels are readable in a column of 3.3 inches, and more of them across a page of 6.9 inches.

    Args:
        columns: Number of columns of panels.
        panel: Width of a panel in inches, if there is room.

    >>> width(2, 2.9), width(3, 2.5), width(7, 1.7)
    (4.4, 7.5, 9.2)
    """
    return 4.4 if columns <= 2 else min(panel * columns, 9.2)


def title(figure: Figure, text: str) -> None:
    """Put a title above a figure, in as many lines as it needs."""
    unbroken = plain(text.replace(" <= ", "\u00a0<=\u00a0"))
    lines = textwrap.wrap(unbroken, int(13 * figure.get_figwidth()))
    figure.suptitle("\n".join(map(literal, lines)), fontsize=9)


def legend(figure: Figure, looks: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Put a legend below a figure.

    Args:
        figure: The figure.
        looks: Labels, each with the matplotlib properties of its line; at least one.
    """
    from matplotlib.lines import Line2D

    labels = [literal(label) for label, _ in looks]
    fitting = int(figure.get_figwidth() / (0.075 * max(map(len, labels)) + 0.7))
    figure.legend(
        [Line2D([], [], **look) for _, look in looks],
        labels,
        loc="outside lower center",
        frameon=False,
        handlelength=3,
        ncols=max(1, min(len(labels), fitting)),
    )


class Ranked(Protocol):
    """A line of one model."""

    @property
    def label(self) -> str:
        """Label of the model."""

    @property
    def rank(self) -> int:
        """Index of the model among those of the figure; it determines the look of the line in all panels."""


def legend_of_lines(figure: Figure, lines: Iterable[Ranked]) -> None:
    """Put a legend of the models below a figure, in the order of their ranks; each has at least one line."""
    names = {line.rank: line.label for line in lines}
    legend(figure, [(label, line_look(rank)) for rank, label in sorted(names.items())])


def items_of(sizes: Iterable[int]) -> str:
    """The number of items, as a caption gives it: ``n = 397 items``; with several numbers, ``n = 90 or 397 items``."""
    return f"n = {' or '.join(f'{n:,}' for n in sorted(sizes))} items"


def line_look(rank: int) -> dict[str, Any]:
    """Matplotlib properties of the line of the row with this rank in its table."""
    return {"color": _COLOURS[rank % len(_COLOURS)], "linestyle": _STYLES[rank % len(_STYLES)], "linewidth": 1.3}


def marker_look(rank: int, *, filled: bool) -> dict[str, Any]:
    """Matplotlib properties of the points of the row with this rank in its table."""
    colour = _COLOURS[rank % len(_COLOURS)]
    return {
        "marker": _MARKERS[rank % len(_MARKERS)],
        "markersize": 4.5,
        "markerfacecolor": colour if filled else "white",
        "markeredgecolor": colour,
    }


def class_colour(label: int) -> tuple[float, float, float]:
    """The colour of a class: ten colours of one lightness range, which repeat from the eleventh class on."""
    from matplotlib import colormaps

    red, green, blue, _ = colormaps["tab10"](label % 10)
    return red, green, blue


def literal(text: str) -> str:
    """Text that matplotlib prints as it is: dollar signs start no formula, a leading underscore hides no label."""
    escaped = plain(text).replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
