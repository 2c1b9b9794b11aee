"""Charts as pictures."""

from __future__ import annotations

import io
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

from bench.report.drawing import DPI
from bench.report.figures.curves import Chart, Line, Panel

COLOURS = {0: (0, 114, 178), 1: (230, 159, 0), 2: (0, 158, 115)}


def line(rank: int, label: str, *, steps: bool, masked: bool = False) -> Line:
    x = (0.0, 0.3, 0.7, 1.0) if steps else (0.0, 1.0, 8.0, 32.0)
    y = (0.95, 0.6 - 0.1 * rank, 0.3 - 0.1 * rank, 0.05)
    return Line(label, rank, x, y, tuple(v - 0.05 for v in y), tuple(v + 0.04 for v in y), (masked,) * 4)


def panel(*lines: Line, steps: bool = True) -> Panel:
    marks = (0.5, 7.0) if steps else (1.0, 8.0, 32.0)
    return Panel("C&W-100", "L2 norm", lines, steps, marks, 1.05 if steps else 33.0)


def chart(*panels: Panel) -> Chart:
    return Chart("L2 norms (PROFILE smoke: digits, n <= 64)", panels, "Caption.")


def draw(drawn: Chart) -> bytes:
    """The picture, drawn now: a chart keeps what it has drawn."""
    return replace(drawn).png


def pixels(png: bytes) -> np.ndarray:
    return np.rint(255 * imread(io.BytesIO(png))[..., :3]).astype(int)


def has(png: bytes, rank: int) -> bool:
    return bool((np.abs(pixels(png) - np.array(COLOURS[rank])).max(axis=2) < 3).any())


@pytest.mark.parametrize("steps", [True, False])
def test_every_model_is_drawn_in_a_colour_of_its_own(steps: bool) -> None:
    two = draw(chart(panel(line(0, "softmax", steps=steps), line(2, "GMMC", steps=steps), steps=steps)))
    assert [has(two, rank) for rank in COLOURS] == [True, False, True]


def test_the_bytes_are_a_function_of_the_chart() -> None:
    one = chart(panel(line(0, "softmax", steps=False), steps=False))
    png = draw(one)
    assert draw(one) == png
    moved = replace(one.panels[0].lines[0], y=(0.95, 0.5, 0.3, 0.04))
    masked = chart(panel(line(0, "softmax", steps=False, masked=True), steps=False))
    assert len({png, draw(chart(panel(moved, steps=False))), draw(masked), draw(replace(one, title="Other"))}) == 4
    assert b"Software" not in png
    with mpl.rc_context({"font.size": 30, "figure.facecolor": "red"}):
        before = dict(mpl.rcParams)
        assert draw(one) == png
        assert dict(mpl.rcParams) == before


def test_names_are_no_formulas_and_missing_letters_no_error() -> None:
    """Warnings are errors here: a label that matplotlib hides or a letter that its font lacks would raise."""
    strange = chart(panel(line(0, "_$x$", steps=True), line(1, r"\frac{漢$", steps=True)))
    assert has(draw(replace(strange, title="$\\undefined$ _")), 1)


def test_panels_fill_rows_of_three() -> None:
    one = panel(line(0, "softmax", steps=True))
    sizes = [pixels(draw(chart(*[one] * count))).shape for count in (1, 3, 4)]
    assert sizes[0][1] < sizes[1][1] == sizes[2][1]
    assert sizes[0][0] == sizes[1][0] < sizes[2][0]
    assert sizes[1][1] == pytest.approx(8.7 * DPI, abs=2)
