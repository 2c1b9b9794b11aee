"""Generated images of several models: a column for each model, a row for each selection of its images (GMMC paper,
Figs. 9 to 18).

The pictures are those that the evaluation ``generation`` stored; nothing is generated or selected here.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.errors import DamagedFileError
from bench.report import drawing
from bench.report.cells import Results
from bench.suite.figures import SamplesEntry
from bench.suite.schema import ResolvedFigure, ResolvedModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Grids", "Panel", "figure_of"]

_LETTER = 0.085
"""Width in inches of a letter of a label."""
_ORDER = {
    "samples": "samples: the oldest chains first",
    "closest": "closest: nearest to the center of the class first",
    "farthest": "farthest: farthest from the center of the class first",
}


@dataclass(frozen=True)
class Panel:
    """The pictures of one model.

    Attributes:
        label: Label of the model.
        seed: Training seed.
        pictures: By selection, the grid of images with a row for each class, uint8, (H, W) or (H, W, 3).
    """

    label: str
    seed: int
    pictures: Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Grids(drawing.Drawing):
    """The panels of all models that have pictures."""

    title: str
    selections: tuple[str, ...]
    panels: tuple[Panel, ...]
    caption: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        width = drawing.width(len(self.panels), 2.2)
        panel = 0.94 * width / len(self.panels)  # the rest is for names and gaps
        height = sum(
            panel
            * max((rows / columns for one in self.panels for rows, columns in self._shape(one, name)), default=0.0)
            for name in self.selections
        )
        lines = max(len(self._lines(panel.label)) for panel in self.panels)
        return width, round(height + 0.1 * len(self.selections) + 0.35 + 0.15 * lines, 2)

    @staticmethod
    def _shape(panel: Panel, selection: str) -> list[tuple[int, int]]:
        picture = panel.pictures.get(selection)
        return [] if picture is None else [(picture.shape[0], picture.shape[1])]

    def _lines(self, label: str) -> list[str]:
        """A label in lines that are no wider than a panel, as far as its words allow."""
        letters = int(drawing.width(len(self.panels), 2.2) / len(self.panels) / _LETTER)
        return textwrap.wrap(label, max(letters, 1), break_long_words=False) or [label]

    def paint(self, figure: Figure) -> None:
        """Draw the pictures, smoothed only where drawn smaller; a model that lacks one leaves its place empty."""
        axes = figure.subplots(len(self.selections), len(self.panels), squeeze=False)
        for row, selection in enumerate(self.selections):
            for ax, panel in zip(axes[row], self.panels, strict=True):
                ax.set(xticks=[], yticks=[])
                for spine in ax.spines.values():
                    spine.set_visible(False)
                if row == 0:
                    ax.set_title("\n".join(drawing.literal(line) for line in self._lines(panel.label)))
                picture = panel.pictures.get(selection)
                if picture is None:
                    ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center", va="center", color="0.4")
                else:
                    ax.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
            if len(self.selections) > 1:
                axes[row][0].set_ylabel(selection)
        drawing.title(figure, self.title)


def figure_of(figure: ResolvedFigure, results: Results) -> Grids | str:
    """The pictures of a ``[[figure]]``, or why there are none.

    Args:
        figure: The figure, with its evaluation.
        results: The results in the store; of each model the first seed that has a picture is shown.
    """
    entry = figure.entry
    assert isinstance(entry, SamplesEntry)
    panels = [panel for model in figure.models if (panel := _panel(model, figure, entry, results)) is not None]
    if not panels:
        return "no pictures of generated images are stored: no model generates, not run yet, or damaged"
    shown = tuple(name for name in entry.selections if any(name in panel.pictures for panel in panels))
    seeds = {panel.seed for panel in panels}
    which = (
        f"Training seed {seeds.pop()}"
        if len(seeds) == 1
        else "Training seeds: " + ", ".join(f"{panel.seed} ({panel.label})" for panel in panels)
    )
    order = "; ".join(_ORDER[name] for name in shown)
    caption = f"Generated images of the evaluation {figure.evaluation}, a row for each class. {which}. Order in a row: "
    return Grids(figure.title, shown, tuple(panels), f"{caption}{order}.")


def _panel(model: ResolvedModel, figure: ResolvedFigure, entry: SamplesEntry, results: Results) -> Panel | None:
    for job in results.plan.evaluations(model.name, figure.evaluation):
        folder = results.store.folder(job.key)
        stored = folder.artefacts() if results.states[job.key].state == "done" else {}
        names = [name for name in entry.selections if f"{name}.png" in stored]
        try:
            found: dict[str, NDArray[np.uint8]] = {name: _pixels(folder.read(f"{name}.png")) for name in names}
        except DamagedFileError:  # the job's cells say so
            folder.distrust()
            continue
        if found:
            return Panel(model.label, job.seed, found)
    return None


def _pixels(content: bytes) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("L" if image.mode in ("L", "1") else "RGB"))
