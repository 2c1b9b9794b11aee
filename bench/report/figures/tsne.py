"""t-SNE of the features of test images, a panel for each model, with the purity of neighbours (GMMC paper, Fig. 1).

t-SNE (van der Maaten and Hinton 2008) shows which items are neighbours, not how far clusters are from each other, and
its picture depends on the seed. The purity is measured in the features themselves and depends on neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.errors import DamagedFileError
from bench.plan.tasks import PredictTask
from bench.report import drawing
from bench.report.cells import Results
from bench.store import OUTPUTS
from bench.suite.figures import TSNEEntry
from bench.suite.schema import ResolvedFigure, ResolvedModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Embeddings", "Panel", "figure_of", "neighbour_purity"]


@dataclass(frozen=True)
class Panel:
    """The features of one model.

    Attributes:
        label: Label of the model.
        points: Embedded items, (n, 2).
        labels: Class of each item, (n,).
        purity: `neighbour_purity` of the features.
    """

    label: str
    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    purity: float


@dataclass(frozen=True)
class Embeddings(drawing.Drawing):
    """The panels of all models."""

    title: str
    panels: tuple[Panel, ...]
    caption: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        rows, columns = drawing.grid(len(self.panels))
        return drawing.width(columns, 2.4), 2.5 * rows + 0.7

    def paint(self, figure: Figure) -> None:
        """Draw the panels in rows; each class has a colour and is named by its digit at its median."""
        axes = figure.subplots(*drawing.grid(len(self.panels)), squeeze=False)
        for place, ax in enumerate(axes.flat):
            if place >= len(self.panels):
                ax.set_axis_off()
                continue
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set(visible=True, color="0.7", linewidth=0.6)
            panel = self.panels[place]
            for label in np.unique(panel.labels):
                own = panel.points[panel.labels == label]
                colour = drawing.class_colour(int(label))
                ax.scatter(*own.T, s=3, color=colour, linewidths=0, alpha=0.7, rasterized=True)
                ax.text(*np.median(own, axis=0), str(label), ha="center", va="center", fontsize=8, weight="bold")
            ax.set_aspect("equal", adjustable="datalim")
            ax.set_title(drawing.literal(f"{panel.label}, purity {100 * panel.purity:.1f} %"))
        drawing.title(figure, self.title)


def neighbour_purity(features: NDArray[np.floating], labels: NDArray[np.int64], neighbours: int) -> float:
    """The mean share of an item's nearest neighbours that have its class, in [0, 1].

    Args:
        features: Shape (n, d); distances are Euclidean, in float64.
        labels: Shape (n,).
        neighbours: Number of neighbours of each item, itself excluded, 1 … n - 1.

    >>> neighbour_purity(np.array([[0.0], [1.0], [9.0], [10.0]]), np.array([0, 0, 1, 1]), 1)
    1.0
    """
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=neighbours).fit(np.asarray(features, dtype=np.float64))
    nearest = found.kneighbors(return_distance=False)
    return float((labels[nearest] == labels[:, None]).mean())


def figure_of(figure: ResolvedFigure, results: Results) -> Embeddings | str:
    """The panels of a ``[[figure]]``, or why there are none.

    Args:
        figure: The figure.
        results: The results in the store; features are read from the predictions on the test set.
    """
    entry = figure.entry
    assert isinstance(entry, TSNEEntry)
    panels = [panel for model in figure.models if (panel := _panel(model, entry, results)) is not None]
    if not panels:
        return f"no predictions of more than {max(3, entry.neighbours)} test images are stored: not run yet, or damaged"
    size = max(len(panel.labels) for panel in panels)
    perplexity = min(entry.perplexity, (size - 1) / 3)
    caption = (
        f"t-SNE (perplexity {perplexity:.3g}, seed {entry.seed}) of the features of {size:,} test images, by class; "
        "one seed of each model. Distances between clusters have no meaning. Purity: mean share of the "
        f"{entry.neighbours} nearest neighbours of an image, in the features, that have its class."
    )
    return Embeddings(figure.title, tuple(panels), caption)


def _panel(model: ResolvedModel, entry: TSNEEntry, results: Results) -> Panel | None:
    from sklearn.manifold import TSNE

    for job in results.plan.jobs:
        task = job.task
        if not isinstance(task, PredictTask) or (task.split, task.output) != ("test", "forward"):
            continue
        if job.model != model.name or results.states[job.key].state != "done":
            continue
        try:
            arrays = results.store.folder(job.key).arrays(OUTPUTS)
        except DamagedFileError:
            results.store.folder(job.key).distrust()
            continue
        features, labels = arrays["features"][: entry.items], arrays["labels"][: entry.items]
        finite = np.isfinite(features).all(axis=1)
        features, labels = features[finite].astype(np.float64), labels[finite]
        if len(labels) <= max(3, entry.neighbours):
            return None
        # An item can have no more neighbours than there are.
        perplexity = min(entry.perplexity, (len(labels) - 1) / 3)
        embedding = TSNE(2, perplexity=perplexity, init="pca", random_state=entry.seed, n_jobs=1)
        purity = neighbour_purity(features, labels, entry.neighbours)
        return Panel(model.label, embedding.fit_transform(features), labels, purity)
    return None
