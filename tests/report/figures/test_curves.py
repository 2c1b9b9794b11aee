"""From the columns of a table to the curves that they are points of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.metrics.intervals import student_t, wilson
from bench.plan.jobs import Plan
from bench.report.build import build_report
from bench.report.figures.curves import Chart, Line, Panel
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Results

SUITE = """\
[suite]
name = "s"
[data]
dataset = "digits"
[[model]]
family = "softmax"
backbone = "wrn-10-1"
[[model]]
family = "gmmc-dis"
backbone = "wrn-10-1"
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "calibration"
[[evaluation]]
kind = "pgd"
eps = ["16/255", "4/255", "8/255"]
[[evaluation]]
kind = "pgd"
id = "pgd-l2"
norm = "l2"
eps = ["0.5", "1"]
[[evaluation]]
kind = "cw-l2"
curve = ["0.5", "1.25"]
[[table]]
id = "main"
title = "Title"
columns = [COLUMNS]
"""
N = 80


class Case:
    def __init__(self, project: Project, results: Results) -> None:
        self.project, self.results = project, results
        self.text = SUITE
        self.plan: Plan | None = None

    def table(self, *columns: str) -> None:
        names = ", ".join(f'"{name}"' for name in columns)
        self.plan = self.project.plan(self.text.replace("COLUMNS", names))

    def measure(self, what: str, metric: str, share: float, *, model: str = "softmax", seed: int = 1, **options: Any):
        """A share of robust items of which 90 % are right at first."""
        assert self.plan is not None
        job = planned(self.plan, f"{model}/digits/seed{seed}/{what}")
        arrays = {metric: np.arange(N) < share * N, "clean": np.arange(N) < 0.9 * N}
        self.results.measure(self.plan, job, {metric: share}, n=N, correct=arrays, **options)

    def norms(self, norms: Any, clean: Any, *, model: str = "softmax", seed: int = 1) -> None:
        assert self.plan is not None
        job = planned(self.plan, f"{model}/digits/seed{seed}/cw-l2")
        arrays = {"robust": np.asarray(clean), "l2": np.asarray(norms), "clean": np.asarray(clean)}
        self.results.measure(self.plan, job, {"robust": 0.5}, n=len(arrays["l2"]), correct=arrays)

    def chart(self) -> Chart | None:
        assert self.plan is not None
        (table,) = build_report(self.plan, self.results.store, self.project.bench.settings.literature).tables
        figure = table.chart
        assert figure is None or isinstance(figure, Chart)
        return figure

    def panels(self) -> tuple[Panel, ...]:
        chart = self.chart()
        assert chart is not None
        return chart.panels


@pytest.fixture
def case(project: Project, results: Results) -> Case:
    return Case(project, results)


def test_accuracies_at_several_budgets_are_a_line_from_the_clean_one(case: Case) -> None:
    case.table("accuracy", "pgd@8/255", "pgd@16/255", "pgd@4/255", "pgd.margin@4/255", "pgd.zero-gradient@4/255")
    for eps, share in (("4/255", 0.7), ("8/255", 0.5), ("16/255", 0.1)):
        case.measure(f"pgd@{eps}", "ce", share, verdict="masked" if eps == "16/255" else "no warning")
    (panel,) = case.panels()  # one budget alone is no line
    assert (panel.title, panel.axis, panel.steps) == ("PGD-40, CE", "L∞ budget in 1/255", False)
    assert panel.marks == pytest.approx((4, 8, 16))
    (line,) = panel.lines
    assert line.label == "softmax"
    assert line.x == pytest.approx((0, 4, 8, 16))
    assert line.y == (0.9, 0.7, 0.5, 0.1)
    assert line.masked == (False, False, False, True)
    clean = wilson(72, N)
    assert (line.low[0], line.high[0]) == (clean.low, clean.high)
    assert (line.low[1], line.high[1]) == (0.7, 0.7)  # that record has no interval
    chart = case.chart()
    assert chart is not None
    assert chart.title == "Title"
    for words in ("upper bound", "n = 80 items", "Wilson intervals over items", "Open points are masked"):
        assert words in chart.caption
    assert "Steps" not in chart.caption


def test_rows_without_a_number_have_no_line_and_keep_their_place(case: Case) -> None:
    case.table("pgd-l2@0.5", "pgd-l2@1")
    assert case.chart() is None
    for eps in ("0.5", "1"):
        case.measure(f"pgd-l2@{eps}", "ce", 0.5, model="gmmc-dis", verdict="no warning")
    (panel,) = case.panels()
    assert [(line.label, line.rank) for line in panel.lines] == [("GMMC (Dis)", 1)]
    assert (panel.axis, panel.marks) == ("L2 budget", (0.5, 1.0))


def test_other_columns_are_no_curve(case: Case) -> None:
    case.table("accuracy", "calibration.ece", "calibration.ece@fitted", "pgd@4/255", "pgd.margin@8/255")
    case.measure("accuracy", "accuracy", 0.9)
    case.measure("pgd@4/255", "ce", 0.5, verdict="no warning")
    case.measure("pgd@8/255", "margin", 0.5, verdict="no warning")
    assert case.chart() is None


def test_accuracies_that_are_not_robust_ones_are_no_curve(case: Case) -> None:
    """Such as those of a third party at several levels of noise: they carry no verdict."""
    case.table("pgd@4/255", "pgd@8/255")
    for eps in ("4/255", "8/255"):
        case.measure(f"pgd@{eps}", "ce", 0.5)
    assert case.chart() is None


def test_severities_of_corruptions_are_lines_and_no_bounds(case: Case) -> None:
    case.text = SUITE.replace(
        "[[table]]", '[[evaluation]]\nkind = "corruption"\ncorruptions = ["fog", "gaussian_noise"]\n[[table]]'
    ).replace('dataset = "digits"', 'dataset = "digits"\nresize = [32, 32]')
    every = [f"corruption.{metric}@{level}" for metric in ("severity", "gaussian_noise") for level in (5, 1)]
    case.table("corruption", *every)
    assert case.plan is not None
    arrays = {"clean": np.arange(N) < 0.9 * N, **{name.partition(".")[2]: np.arange(N) < 0.5 * N for name in every}}
    values = {"severity@1": 0.8, "severity@5": 0.4, "gaussian_noise@1": 0.7, "gaussian_noise@5": 0.3}
    job = planned(case.plan, "softmax/digits/seed1/corruption")
    case.results.measure(case.plan, job, values, n=N, correct=arrays)
    mean, noise = case.panels()
    assert (mean.axis, noise.axis, mean.attacked) == ("severity", "severity", False)
    assert noise.title == f"{mean.title}, gaussian noise"
    assert [(panel.lines[0].x, panel.lines[0].y) for panel in (mean, noise)] == [
        ((0, 1, 5), (0.9, 0.8, 0.4)),
        ((0, 1, 5), (0.9, 0.7, 0.3)),
    ]
    chart = case.chart()
    assert chart is not None
    assert chart.caption.startswith("Accuracy against the severity. At 0: the same items without the perturbation.")
    assert "upper bound" not in chart.caption


def at(line: Line, radius: float) -> float:
    """The value of a step function that is continuous from the right."""
    return line.y[int(np.searchsorted(line.x, radius, side="right")) - 1]


def test_norms_give_the_whole_curve_exactly(case: Case) -> None:
    rng = np.random.default_rng(0)
    clean = rng.random(N) < 0.9
    norms = np.where(clean & (rng.random(N) < 0.8), rng.exponential(1, N), np.inf)
    norms[:2] = 0.5  # two at one norm
    case.table("cw-l2.robust@0.5")
    case.norms(norms, clean)
    (panel,) = case.panels()
    assert (panel.title, panel.axis, panel.steps, panel.marks) == ("C&W-100x9", "L2 norm", True, (0.5,))
    (line,) = panel.lines
    assert line.x[0] == 0
    assert all(small < large for small, large in zip(line.x, line.x[1:], strict=False))
    for radius in [0.0, 0.25, 0.4999, 0.5, 1.25, 3.0, *norms[np.isfinite(norms)]]:
        robust = clean & (norms > radius)
        assert at(line, radius) == robust.mean()
    last = wilson(int((clean & np.isinf(norms)).sum()), N)
    assert (line.low[-1], line.high[-1]) == (last.low, last.high)
    chart = case.chart()
    assert chart is not None
    assert "from the norms of one minimal-norm attack" in chart.caption
    assert "Points" not in chart.caption


def test_seeds_are_averaged_with_t_intervals(case: Case) -> None:
    case.text = SUITE.replace('family = "softmax"\n', 'family = "softmax"\nseeds = [1, 2]\n')
    case.table("cw-l2.robust@0.5", "pgd@4/255", "pgd@8/255")
    case.norms([0.4, 0.6, 2.0, np.inf], [True, True, True, True], seed=1)
    case.norms([0.6, 0.6, 0.7, np.inf], [True, True, True, False], seed=2)
    for seed in (1, 2):
        case.measure("pgd@4/255", "ce", 0.4 + seed / 10, seed=seed, verdict="no warning")
        case.measure("pgd@8/255", "ce", 0.1, seed=seed, verdict="no warning")
    steps, points = case.panels()
    assert at(steps.lines[0], 0.5) == (3 / 4 + 3 / 4) / 2
    assert at(steps.lines[0], 0.6) == (2 / 4 + 1 / 4) / 2
    low, high = steps.lines[0].low, steps.lines[0].high
    assert all(0 <= a <= y <= b <= 1 for a, y, b in zip(low, steps.lines[0].y, high, strict=True))
    interval = student_t([0.5, 0.6], within=(0.0, 1.0))
    assert interval is not None
    assert points.lines[0].y[1] == pytest.approx(0.55)
    assert (points.lines[0].low[1], points.lines[0].high[1]) == pytest.approx((interval.low, interval.high))
    chart = case.chart()
    assert chart is not None
    assert "t intervals over seeds" in chart.caption
    assert "n = C&W-100x9: 4; PGD-40, CE: 80." in chart.caption
