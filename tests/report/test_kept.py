"""Figures are drawn again only if something that they show, or what draws them, has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.execute.states import job_states
from bench.report import kept
from bench.report.cells import Results as Reader
from bench.report.drawing import Drawing
from bench.report.figures import figures_of
from bench.report.kept import KEPT, figures_in, keep
from bench.store import HISTORY
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
[[evaluation]]
kind = "accuracy"
[[figure]]
id = "one"
kind = "learning"
"""


class Case:
    """A report folder of a suite with one training; the number of figures that were drawn for it."""

    def __init__(self, project: Project, results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project, self.results, self.folder, self.count = project, results, project.root / "report", 0
        self.folder.mkdir()
        monkeypatch.setattr(kept, "figures_of", self._counting)
        self.train(0.8)

    def _counting(self, *args: object) -> object:
        self.count += 1
        return figures_of(*args)  # type: ignore[arg-type]

    def train(self, accuracy: float) -> None:
        job = planned(self.project.plan(SUITE), "softmax/digits/seed1/train")
        path = self.results.store.folder(job.key).file(HISTORY)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([{"epoch": epoch, "validation_accuracy": accuracy} for epoch in (1, 2)]))
        self.results.finish(job, [HISTORY], history=HISTORY)

    def report(self, suite: str = SUITE) -> bytes:
        """The PNG of the figure after a run, which was written if it was drawn."""
        plan = self.project.plan(suite)
        reader = Reader(plan, self.results.store, job_states(plan, self.results.store))
        found, inputs = figures_in(self.folder, plan.suite.figures, reader)
        figure = found["one"]
        assert not isinstance(figure, str), figure
        if isinstance(figure, Drawing):
            self.file("png").write_bytes(figure.png)
            self.file("pdf").write_bytes(figure.pdf)
        keep(self.folder, found, inputs)
        assert (figure.png, figure.pdf) == (self.file("png").read_bytes(), self.file("pdf").read_bytes())
        assert figure.caption.endswith(".")
        return figure.png

    def file(self, kind: str) -> Path:
        return self.folder / f"one.{kind}"


@pytest.fixture
def case(project: Project, results: Results, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(project, results, monkeypatch)


def test_the_same_inputs_are_drawn_once(case: Case) -> None:
    assert case.report() == case.report() == case.report()
    assert case.count == 1


def test_other_results_are_drawn(case: Case) -> None:
    before = case.report()
    case.train(0.9)
    assert case.report() != before
    assert case.count == 2


@pytest.mark.parametrize(
    "change", [('label = "Softmax"', 'label = "Other"'), ('kind = "learning"', 'kind = "learning"\ntitle = "T"')]
)
def test_other_words_are_drawn(case: Case, change: tuple[str, str]) -> None:
    before = case.report()
    assert case.report(SUITE.replace(*change)) != before


def test_other_code_draws_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.report()
    monkeypatch.setattr(kept, "_code", lambda: {"report/drawing.py": "other"})
    case.report()
    assert case.count == 2


@pytest.mark.parametrize("kind", ["png", "pdf"])
@pytest.mark.parametrize("content", [b"edited", None])
def test_an_edited_or_lost_file_is_drawn_again(case: Case, kind: str, content: bytes | None) -> None:
    before = case.report()
    case.file(kind).unlink()
    if content is not None:
        case.file(kind).write_bytes(content)
    assert case.report() == before
    assert case.count == 2


@pytest.mark.parametrize("content", ["", "[]", '{"one": 3}', '{"one": {"inputs": 1}}'])
def test_a_damaged_list_costs_no_figure(case: Case, content: str) -> None:
    before = case.report()
    (case.folder / KEPT).write_text(content)
    assert case.report() == before
    assert case.count == 2


def test_a_figure_that_cannot_be_drawn_is_forgotten(case: Case) -> None:
    case.report()
    keep(case.folder, {"one": "no data"}, {"one": "x"})
    assert json.loads((case.folder / KEPT).read_text()) == {}
