"""The kinds of figures that a suite asks for: their data, and files that can be read."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure as MatplotlibFigure
from sklearn.metrics import roc_curve

from bench.execute.states import job_states
from bench.plan.jobs import Plan
from bench.report import drawing
from bench.report.cells import Results as Reader
from bench.report.drawing import Drawing, line_look
from bench.report.figures import figures_of
from bench.report.figures.learning import Curves, Line
from bench.report.figures.learning import Panel as Learned
from bench.report.figures.reliability import Diagrams
from bench.report.figures.risk_coverage import GRID, risk_at
from bench.report.figures.risk_coverage import Curves as RiskCurves
from bench.report.figures.roc import RocCurves, roc_points
from bench.report.figures.samples import Grids, Panel
from bench.report.figures.score_histograms import Histograms
from bench.report.figures.tsne import Embeddings, neighbour_purity
from bench.store import HISTORY, OUTPUTS
from tests.conftest import Project, Results, planned

SUITE = """\
[suite]
name = "s"
[data]
dataset = "digits"
[[model]]
family = "softmax"
label = "Softmax"
backbone = "wrn-10-1"
seeds = [1, 2]
[[model]]
family = "gmmc-dis"
backbone = "wrn-10-1"
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "calibration"
[[evaluation]]
kind = "ood"
sets = ["uniform"]
[[figure]]
id = "one"
"""
N = 120
RNG = np.random.default_rng(0)


class Case:
    def __init__(self, project: Project, results: Results) -> None:
        self.project, self.results = project, results

    def suite(self, options: str) -> Plan:
        self.plan = self.project.plan(SUITE + options)
        return self.plan

    def confidences(self, model: str, seed: int, **readouts: tuple[Sequence[float], Sequence[bool]]) -> None:
        arrays: dict[str, Any] = {}
        for name, (confidence, correct) in readouts.items():
            arrays |= {f"confidence/{name}": np.asarray(confidence), f"correct/{name}": np.asarray(correct)}
        job = planned(self.plan, f"{model}/digits/seed{seed}/calibration")
        self.results.measure(self.plan, job, {"nll": 0.1}, correct=arrays)

    def figure(self) -> Drawing | str:
        reader = Reader(self.plan, self.results.store, job_states(self.plan, self.results.store))
        return figures_of(self.plan.suite.figures, reader)["one"]


@pytest.fixture
def case(project: Project, results: Results) -> Case:
    return Case(project, results)


def drawn(figure: Drawing | str) -> Drawing:
    """The figure, of which both files can be read and do not change."""
    from PIL import Image

    assert isinstance(figure, Drawing)
    image = Image.open(io.BytesIO(figure.png))
    assert image.size == tuple(round(200 * inches) for inches in figure.size)
    assert np.asarray(image.convert("L")).std() > 1
    assert letters_in_print(figure) >= 6 - 1e-9
    assert figure.pdf.startswith(b"%PDF-")
    assert b"/CreationDate" not in figure.pdf
    assert figure.caption.endswith(".")
    return figure


def letters_in_print(figure: Drawing) -> float:
    """Height in points of the smallest letters in print: in a column of 3.3 inches, or across a page of 6.9 inches for
    figures with more than two columns of panels.
    """
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    empty = Figure(figsize=figure.size)
    figure.paint(empty)
    columns = max(ax.get_subplotspec().get_gridspec().ncols for ax in empty.axes)
    texts = [text for text in empty.findobj(Text) if text.get_text().strip()]
    # Ticks and titles have 8 points in the style that is set when files are drawn, 10 and 12 outside of it.
    smallest = min(min(text.get_fontsize(), 8) for text in texts) if texts else 8
    return smallest * (3.3 if columns <= 2 else 6.9) / figure.size[0]


def test_reliability(case: Case) -> None:
    case.suite('kind = "reliability"\nreadouts = ["default", "paper"]\nbins = 2')
    assert str(case.figure()).startswith("no confidences are stored: not run yet")
    case.confidences("softmax", 1, native=([0.2, 0.75, 1.0], [False, True, True]))
    case.confidences("softmax", 2, native=([0.4, 0.75, 1.0], [True, True, False]))
    first = (
        "code"
        if case.plan.suite.models[1].family.readouts[0] == "code"
        else case.plan.suite.models[1].family.readouts[0]
    )
    case.confidences("gmmc-dis", 1, **{first: ([0.9], [True]), "paper": ([0.6], [False])})
    figure = drawn(case.figure())
    assert isinstance(figure, Diagrams)
    default, paper = figure.panels
    assert default[0] is not None
    assert default[0].curve.count.tolist() == [2, 4]  # the items of both seeds
    assert default[0].curve.accuracy.tolist() == [0.5, 0.75]
    assert (paper[0], paper[1] is not None and paper[1].label) == (None, "GMMC (Dis)")
    assert "pooled over 1 to 2 seeds" in figure.caption


def test_risk_coverage(case: Case) -> None:
    case.suite('kind = "risk-coverage"')
    confidence = np.linspace(1, 0, N)
    correct = np.arange(N) < 90
    for seed in (1, 2):
        case.confidences("softmax", seed, native=(confidence, correct))
    figure = drawn(case.figure())
    assert isinstance(figure, RiskCurves)
    ((readout, (line,)),) = figure.panels
    assert (readout, line.label, line.rank) == ("default", "Softmax", 0)
    assert line.risk[GRID <= 0.75].max() == pytest.approx(0, abs=1e-12)
    assert line.risk[-1] == pytest.approx(0.25)


def test_equal_confidences_have_no_order() -> None:
    correct = RNG.random(N) < 0.7
    coverage = np.array([0.1, 0.5, 1.0])
    risk = risk_at(np.full(N, 0.5), correct, coverage)
    assert risk == pytest.approx([1 - correct.mean()] * 3)
    order = RNG.permutation(N)
    confidence = RNG.integers(0, 5, N) / 5
    assert risk_at(confidence[order], correct[order], coverage) == pytest.approx(risk_at(confidence, correct, coverage))


def scores(case: Case, model: str, seed: int = 1) -> tuple[Any, Any]:
    inside, outside = RNG.normal(1, 1, N), RNG.normal(0, 1, N)
    job = planned(case.plan, f"{model}/digits/seed{seed}/ood")
    arrays = {"log-density": inside, "log-density@uniform": outside}
    case.results.measure(case.plan, job, {"log-density.auroc": 0.7}, correct=arrays)
    return inside, outside


def test_histograms(case: Case) -> None:
    case.suite('kind = "score-histograms"')
    assert str(case.figure()).startswith("no scores are stored: not run yet")
    inside, outside = scores(case, "gmmc-dis")
    figure = drawn(case.figure())
    assert isinstance(figure, Histograms)
    ((panel,),) = figure.panels  # a model without scores has no row
    assert panel is not None
    assert (panel.label, panel.score, list(panel.sets)) == ("GMMC (Dis)", "log-density", ["test set", "uniform"])
    assert np.array_equal(panel.sets["test set"], inside)
    assert np.array_equal(panel.sets["uniform"], outside)


def test_roc(case: Case) -> None:
    case.suite('kind = "roc"')
    inside, outside = scores(case, "gmmc-dis")
    figure = drawn(case.figure())
    assert isinstance(figure, RocCurves)
    ((panel,),) = figure.panels
    (line,) = panel.lines
    assert (line.label, line.rank) == ("GMMC (Dis)", 1)
    labels = np.repeat([1, 0], N)
    false, true, _ = roc_curve(labels, np.concatenate([inside, outside]), drop_intermediate=False)
    assert line.false_positives == pytest.approx(false)
    assert line.true_positives == pytest.approx(true)


@pytest.mark.parametrize("kind", ["score-histograms", "roc"])
def test_sets_without_scores_are_named_and_cost_no_other_set(case: Case, kind: str) -> None:
    with_svhn = SUITE.replace('sets = ["uniform"]', 'sets = ["uniform", "svhn"]')
    case.plan = case.project.plan(f'{with_svhn}kind = "{kind}"')
    assert str(case.figure()).startswith("no scores are stored: not run yet")
    scores(case, "gmmc-dis")
    figure = drawn(case.figure())
    assert figure.caption.endswith(" Without svhn: no scores are stored.")
    ((panel,),) = figure.panels  # type: ignore[attr-defined]
    assert (panel.name if kind == "roc" else list(panel.sets)) == (
        "uniform" if kind == "roc" else ["test set", "uniform"]
    )


def test_the_area_below_roc_points_is_the_auroc() -> None:
    from bench.metrics.ood import auroc

    inside, outside = RNG.integers(0, 6, 50) / 2.0, RNG.integers(0, 5, 70) / 2.0
    false, true = roc_points(inside, outside)
    assert np.trapezoid(true, false) == pytest.approx(auroc(inside, outside))


def test_learning(case: Case) -> None:
    case.suite('kind = "learning"\nquantities = ["validation_accuracy", "fq"]')
    assert case.figure() == "no training is finished, or none logged these quantities"
    for seed, accuracies in ((1, [0.5, 0.8, 0.9]), (2, [0.7, 0.9])):
        job = planned(case.plan, f"softmax/digits/seed{seed}/train")
        path = case.results.store.folder(job.key).file(HISTORY)
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = [{"epoch": i + 1, "validation_accuracy": a, "fq": None} for i, a in enumerate(accuracies)]
        path.write_text(json.dumps(entries))
        case.results.finish(job, [HISTORY], history=HISTORY)
    figure = drawn(case.figure())
    assert isinstance(figure, Curves)
    (panel,) = figure.panels
    (line,) = panel.lines
    assert (panel.quantity, line.epochs) == ("validation_accuracy", (1, 2))
    assert (line.mean, line.low, line.high) == (pytest.approx((0.6, 0.85)), (0.5, 0.8), (0.7, 0.9))


def test_a_training_of_one_epoch_is_a_point() -> None:
    """Its line was invisible, while the legend named it."""
    figure = MatplotlibFigure()
    lines = tuple(
        Line(str(n), n, tuple(range(1, n + 2)), (0.5,) * (n + 1), (0.5,) * (n + 1), (0.5,) * (n + 1)) for n in (0, 1)
    )
    Curves("Training", (Learned("loss", lines),), "").paint(figure)
    assert [line.get_marker() not in ("None", None, "") for line in figure.axes[0].get_lines()] == [True, False]


def test_tsne(case: Case) -> None:
    case.suite('kind = "t-sne"\nitems = 90\nperplexity = 10')
    assert str(case.figure()).startswith("no predictions of more than 5 test images are stored")
    labels = np.arange(N) % 3
    features = np.eye(3)[labels] * 20 + RNG.normal(size=(N, 3))
    job = planned(case.plan, "softmax/digits/seed1/predict/test")
    folder = case.results.store.folder(job.key)
    folder.path.mkdir(parents=True, exist_ok=True)
    np.savez(folder.file(OUTPUTS), ids=np.arange(N), labels=labels, features=features.astype(np.float32))
    case.results.finish(job, [OUTPUTS])
    figure = drawn(case.figure())
    assert isinstance(figure, Embeddings)
    (panel,) = figure.panels
    assert (panel.label, panel.purity, panel.points.shape) == ("Softmax", 1.0, (90, 2))
    # Three clusters 28 standard deviations apart stay apart in the plane.
    assert neighbour_purity(panel.points, panel.labels, 5) == 1.0
    assert re.search(r"of the features of 90 test images", figure.caption)


def test_purity_is_the_share_of_equal_neighbours() -> None:
    features = np.array([[0.0], [1.0], [3.0], [10.0], [11.0]])
    labels = np.array([0, 1, 0, 1, 1])
    # Nearest two: (1, 3), (0, 3), (1, 0), (11, 3), (10, 3).
    assert neighbour_purity(features, labels, 2) == pytest.approx((1 + 0 + 1 + 1 + 1) / 10)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_samples(case: Case, mode: str) -> None:
    from PIL import Image

    generation = '[[evaluation]]\nkind = "generation"\n[[figure]]'
    text = SUITE.replace('"gmmc-dis"', '"gmmc-gen"').replace("[[figure]]", generation)
    case.plan = case.project.plan(text + 'kind = "samples"\nselections = ["samples", "farthest"]')
    assert str(case.figure()).startswith("no pictures of generated images are stored: no model generates")
    pictures = {}
    for name, shade in (("samples", 40), ("closest", 90), ("farthest", 200)):
        content = io.BytesIO()
        Image.new(mode, (30, 20), shade if mode == "L" else (shade, 0, 0)).save(content, format="PNG")
        pictures[f"{name}.png"] = content.getvalue()
    job = planned(case.plan, "gmmc-gen/digits/seed1/generation")
    folder = case.results.store.folder(job.key)
    folder.path.mkdir(parents=True, exist_ok=True)
    for name, stored in pictures.items():
        folder.file(name).write_bytes(stored)
    case.results.finish(job, list(pictures))
    figure = drawn(case.figure())
    assert isinstance(figure, Grids)
    (panel,) = figure.panels
    assert (panel.label, panel.seed, figure.selections) == ("GMMC (Gen)", 1, ("samples", "farthest"))
    shades = {name: int(pixels.reshape(-1)[0]) for name, pixels in panel.pictures.items()}
    assert shades == {"samples": 40, "farthest": 200}
    assert panel.pictures["samples"].shape == ((20, 30) if mode == "L" else (20, 30, 3))
    assert "Training seed 1. Order in a row: samples: the oldest chains first; farthest" in figure.caption
    folder.file("samples.png").write_bytes(b"damaged")
    assert isinstance(case.figure(), str)


def test_lines_differ_in_style_and_neighbours_in_lightness() -> None:
    """Lightness by ITU-R BT.709, as prints without colour show it."""
    from matplotlib.colors import to_rgb

    looks = [line_look(rank) for rank in range(5)]
    assert len({str(look["linestyle"]) for look in looks}) == 5
    grey = [float(np.dot(to_rgb(look["color"]), (0.2126, 0.7152, 0.0722))) for look in looks]
    assert min(abs(np.diff(grey))) > 0.15


def test_long_labels_of_many_models_stay_above_their_own_pictures() -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    picture = {"samples": np.zeros((20, 20), dtype=np.uint8)}
    labels = ["JEM", "Glow, class-conditional", "A model with a name of many words", "GMMC (Joint)"] * 2
    grids = Grids("Images", ("samples",), tuple(Panel(label, 1, picture) for label in labels), "")
    with mpl.rc_context(drawing._STYLE):
        figure = Figure(figsize=grids.size, layout="constrained")
        grids.paint(figure)
        figure.canvas.draw()
    boxes = [ax.title.get_window_extent() for ax in figure.axes]
    assert all(one.x1 <= other.x0 for one, other in itertools.pairwise(boxes))
    assert [ax.get_title().replace("\n", " ") for ax in figure.axes][:2] == ["JEM", "Glow, class- conditional"]
