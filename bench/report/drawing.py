"""Looks of rows, titles, legends and PNG files of all figures. Matplotlib is imported when a figure is drawn."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.plain import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DPI", "legend", "line_look", "literal", "marker_look", "png_of", "title"]

DPI = 200

# Okabe and Ito's palette, which colour-blind readers can tell apart; styles and markers serve prints without colour.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def png_of(paint: Callable[[Figure], None], width: float, height: float) -> bytes:
    """A PNG file of a width and height in inches. Its bytes depend on ``paint`` and the version of matplotlib alone."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # the user's own style file is ignored
        mpl.rcParams.update({"font.size": 8, "axes.titlesize": 8, "axes.spines.top": False, "axes.spines.right": False})
        # A letter that the font lacks is drawn as a box; its warning must not end the report.
        warnings.filterwarnings("ignore", message=".*Glyph")
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


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


def literal(text: str) -> str:
    """Text that matplotlib prints as it is: dollar signs start no formula, a leading underscore hides no label."""
    escaped = plain(text).replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
