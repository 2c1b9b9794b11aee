from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.metrics.intervals import IfCalibrated, Interval
from bench.report.build import build_report
from bench.report.claims import calibration_notes, reason_notes, seed_note
from bench.report.formats.markdown import render_table
from bench.report.model import Cell, Table
from bench.store import Record
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
family = "jem"
backbone = "wrn-10-1"
[[model]]
family = "gmmc-gen"
backbone = "wrn-10-1"
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "pgd"
eps = ["8/255"]
[[evaluation]]
kind = "generation"
[[table]]
id = "main"
columns = ["accuracy", "pgd@8/255", "generation.fcd", "generation.cs"]
[[table]]
id = "controls"
columns = ["generation.cs", "generation.cs@real"]
"""


class Case:
    def __init__(self, project: Project, results: Results) -> None:
        self.project, self.results, self.plan = project, results, project.plan(SUITE)

    def measure(self, model: str, what: str, metric: str, right: Any, ids: Any = None) -> None:
        job = planned(self.plan, f"{model}/digits/seed1/{what}")
        flags = np.asarray(right, dtype=bool)
        arrays = {metric: flags, **({} if ids is None else {"ids": np.asarray(ids)})}
        self.results.measure(self.plan, job, {metric: flags.mean()}, n=len(flags), correct=arrays)

    def generation(self, model: str, values: Mapping[tuple[str, str], tuple[float, float]], seed: int = 1) -> None:
        """Values and halves of their intervals by metric and argument."""
        job = planned(self.plan, f"{model}/digits/seed{seed}/generation")
        self.results.measure(self.plan, job, {"fcd": 1.0, "cs": 1.0, "agreement": 0.9}, n=259)
        record = self.results.store.folder(job.key).record_json()
        assert record is not None
        for number in record["numbers"]:
            value, half = values.get((number["metric"], number["argument"]), (1.0, 0.1))
            number["value"] = value
            number["interval"] = asdict(Interval(value - half, value + half, 0.95, "jackknife over 20 groups"))
        self.results.store.folder(job.key).finish(Record.from_json(record))

    def tables(self) -> tuple[Table, ...]:
        return build_report(self.plan, self.results.store, self.project.bench.settings.literature).tables


@pytest.fixture
def case(project: Project, results: Results) -> Case:
    return Case(project, results)


def cells(*seeds: int, value: float | None = 0.5) -> list[Cell]:
    return [Cell(column="x", value=value, n=10, seeds=tuple(range(1, count + 1)), status="ok") for count in seeds]


def rows_of(*seeds: int, value: float | None = 0.5) -> tuple[list[str], list[list[Cell]]]:
    """Labels and cells of rows of one number each."""
    return [f"row {n}" for n in range(len(seeds))], [[cell] for cell in cells(*seeds, value=value)]


def test_rows_of_other_seeds_are_named_and_bold_is_told_where_it_is() -> None:
    labels, rows = rows_of(3, 3, 2)
    note = str(seed_note(labels, rows))
    assert note.startswith("Mean over seeds 1, 2, 3 (row 0, row 1); 1, 2 (row 2), 95% t intervals")
    assert "bold" not in note
    rows[0] = [replace(rows[0][0], best=True)]
    assert "; bold is about these weights." in str(seed_note(labels, rows))


def test_no_number_claims_nothing() -> None:
    assert seed_note([], []) is None
    assert seed_note(*rows_of(3, value=None)) is None


def test_two_seeds_say_what_they_cannot_show() -> None:
    note = str(seed_note(*rows_of(2, 2)))
    assert note.startswith("Mean over seeds 1, 2, 95% t intervals over seeds, cut to the range of the number.")
    assert "one degree of freedom" in note
    assert "smallest p = 0.5" in note


@pytest.mark.parametrize(("seeds", "smallest"), [(3, "0.25"), (5, "0.0625"), (6, None)])
def test_few_seeds_cannot_tell_models_apart(seeds: int, smallest: str | None) -> None:
    note = str(seed_note(*rows_of(seeds)))
    assert "one degree" not in note
    assert (f"smallest p = {smallest}" in note) == (smallest is not None)


def test_cells_of_one_and_of_several_seeds_are_told_apart() -> None:
    assert str(seed_note(*rows_of(1, 3))).endswith("Cells of one seed have intervals over test items.")
    assert str(seed_note(*rows_of(1, 1))).startswith("One run each")


def test_rows_over_different_items_are_compared_on_the_common_ones_and_say_so(case: Case) -> None:
    """The second row has the first sixty items of the first: on these it is as good, though its share is smaller."""
    case.measure("softmax", "accuracy", "accuracy", np.arange(100) >= 30)
    case.measure("jem", "accuracy", "accuracy", np.arange(60) >= 30)
    table = case.tables()[0]
    shown = {row.label: row.cells[0] for row in table.rows}
    assert {label: (cell.n, cell.n_common, cell.best) for label, cell in shown.items()} == {
        "softmax": (100, 60, True),
        "JEM": (60, 60, True),
        "GMMC (Gen)": (None, None, False),
    }
    expected = "Rows are over different items in accuracy (n = 60 to 100, bold compares the 60 that all share)."
    assert expected in table.notes


def test_rows_without_a_common_item_are_not_compared(case: Case) -> None:
    case.measure("softmax", "accuracy", "accuracy", np.ones(50), ids=np.arange(50))
    case.measure("jem", "accuracy", "accuracy", np.zeros(50), ids=np.arange(50, 100))
    table = case.tables()[0]
    assert not any(row.cells[0].best for row in table.rows)
    assert [row.cells[0].n_common for row in table.rows] == [0, 0, None]


def test_columns_over_different_items_say_so(case: Case) -> None:
    """A worst case of 5.0 over 100 items stood above a PGD accuracy of 4.5 over 200."""
    for model in ("softmax", "jem"):
        case.measure(model, "accuracy", "accuracy", np.ones(200))
        case.measure(model, "pgd@8/255", "ce", np.arange(100) < 5)
    (note,) = [note for note in case.tables()[0].notes if note.startswith("Columns of different n")]
    assert note.endswith("n = 200: accuracy; n = 100: pgd@8/255.")
    case.measure("softmax", "pgd@8/255", "ce", np.arange(200) < 5)
    case.measure("jem", "pgd@8/255", "ce", np.arange(200) < 5)
    assert not any("different" in note for note in case.tables()[0].notes)


def test_controls_stand_below_tables_that_have_no_column_for_them(case: Case) -> None:
    """A classifier score of 9.71 means nothing without that of real images, which may be as large."""
    measured = {("cs", ""): (9.708, 0.094), ("cs", "real"): (9.611, 0.146), ("fcd", "real"): (3.036, 2.782)}
    case.generation("jem", {**measured, ("fcd", "noise"): (263.142, 10.8), ("cs", "noise"): (2.266, 0.16)})
    main, controls = case.tables()
    assert "For scale: FCD of test images 3.0 [0.3, 5.8], FCD of noise 263 [252, 274]." in main.notes
    assert "For scale: CS of test images 9.61 [9.46, 9.76], CS of noise 2.27 [2.11, 2.43]." in main.notes
    assert "For scale: CS of noise 2.27 [2.11, 2.43]." in controls.notes
    # A row with other controls, say of fewer images, is told apart.
    case.generation("gmmc-gen", {**measured, ("fcd", "noise"): (300.0, 12.0), ("cs", "noise"): (2.266, 0.16)})
    assert any(
        "FCD of noise 263 [252, 274] (JEM); 300 [288, 312] (GMMC (Gen))." in note for note in case.tables()[0].notes
    )


def test_controls_keep_their_interval_over_several_seeds(case: Case) -> None:
    """They are of real images or noise, so that all seeds have one number; a model's equal numbers have no interval."""
    case.plan = case.project.plan(SUITE.replace('family = "jem"', 'family = "jem"\nseeds = [1, 2]'))
    for seed in (1, 2):
        case.generation("jem", {("cs", "real"): (9.611, 0.146), ("cs", ""): (9.0, 0.2)}, seed=seed)
    main, controls = case.tables()
    own, real = controls.rows[1].cells
    assert (own.interval, own.reason) == (None, "2 seeds with equal results: no spread, so no interval")
    assert real.reason is None
    assert real.interval is not None
    assert (real.interval.low, real.interval.high) == pytest.approx((9.465, 9.757))
    assert any("CS of test images 9.61 [9.46, 9.76]" in note for note in main.notes)


def test_no_more_digits_are_printed_than_a_number_carries(case: Case) -> None:
    case.generation("jem", {("fcd", ""): (4.613, 1.87), ("cs", ""): (9.7083, 0.0944)})
    text = render_table(case.tables()[0])
    assert "4.6 [2.7, 6.5]" in text
    assert "9.71 [9.61, 9.80]" in text


def test_a_remark_names_its_columns_unless_it_is_about_all_numbers_of_its_rows() -> None:
    def row(*reasons: str | None) -> list[Cell]:
        return [
            Cell(column=name, value=0.5, status="ok", reason=reason)
            for name, reason in zip(("a", "b", "c"), reasons, strict=True)
        ]

    cells = [row("n = 1 to 2", "n = 1 to 2", None), row("n = 1 to 2", None, None), row("old", "old", "old")]
    missing = [replace(cell, value=None, status="n/a", reason="no weights") for cell in row(None, None, None)]
    assert reason_notes(["A", "B", "C", "D"], [*cells, missing]) == [
        "n = 1 to 2: a, b (A); a (B).",
        "old (C).",
        "n/a (D): no weights.",
    ]
    some = [
        [Cell(column=name, status="n/a", reason=reason) for name in ("a", "b")]
        + [Cell(column="c", value=0.5, status="ok")]
        for reason in ("A does not generate", "no weights", "no weights")
    ]
    assert reason_notes(["A", "B", "C", "D"], [*some, missing]) == [
        "n/a in a, b: A does not generate.",
        "n/a in a, b (B, C); a, b, c (D): no weights.",
    ]


@pytest.mark.parametrize(
    ("label", "reason", "note"),
    [
        ("GMMC", "GMMC (Dis) does not generate", "n/a in a (GMMC): GMMC (Dis) does not generate."),
        ("no", "no Inception weights", "n/a in a (no): no Inception weights."),
        ("GMMC", "GMMC has no exact density", "n/a in a: GMMC has no exact density."),
        ("x", "It ends here.", "n/a in a (x): It ends here."),
    ],
)
def test_a_row_is_named_unless_the_reason_names_it(label: str, reason: str, note: str) -> None:
    """``GMMC (Dis) does not generate`` was said of a row GMMC beside one that is called GMMC (Dis)."""
    cells = [Cell(column="a", status="n/a", reason=reason), Cell(column="b", value=0.5, status="ok")]
    other = [replace(cell, value=0.5, status="ok", reason=None) for cell in cells]
    assert reason_notes([label, "GMMC (Dis)"], [cells, other]) == [note]


def test_a_model_that_diverged_is_one_note() -> None:
    diverged = [Cell(column=name, status="diverged", reason="training diverged") for name in ("a", "b")]
    absent = Cell(column="c", status="n/a", reason="A does not generate")
    assert reason_notes(["A", "B"], [[*diverged, absent], [Cell(column=n, value=1.0, status="ok") for n in "abc"]]) == [
        "diverged (A): training diverged.",
        "n/a in c: A does not generate.",
    ]


def test_one_common_item_is_no_test(case: Case) -> None:
    """Both rows of a column with one common item were bold."""
    case.measure("softmax", "accuracy", "accuracy", [True, False], ids=[1, 2])
    case.measure("jem", "accuracy", "accuracy", [True, True], ids=[2, 3])
    main, _ = case.tables()
    assert not any(row.cells[0].best for row in main.rows)
    assert "Not tested, nothing bold: accuracy (fewer than two items in common)." in main.notes


def test_only_a_p_value_that_is_there_is_explained() -> None:
    def note(*p_values: float | None) -> str:
        column = SimpleNamespace(id="ece")
        rows = [[Cell(column="ece", if_calibrated=IfCalibrated(0.02, 0.03, 0.95, p))] for p in p_values]
        models = [SimpleNamespace(label=f"m{n}") for n in range(len(rows))]
        (said,) = calibration_notes([column], models, rows)  # type: ignore[list-item, arg-type]
        return said

    assert "; p is the probability that it has the printed error or a larger one. ece: m0" in note(0.01)
    assert "p is" not in note(None)
    assert "a larger one. Means over seeds have no p. ece: m0" in note(0.01, None)
