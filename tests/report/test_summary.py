"""Reports in words: the best models, caveats, and what is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.intervals import IfCalibrated
from bench.report.model import Cell, Report, Table, TableColumn, TableRow
from bench.report.summary import caveats, findings, gaps


def column(name: str, direction: str | None = "up", unit: str = "fraction", group: str = "") -> TableColumn:
    return TableColumn(name, name, group, direction, unit, "", tested=True)  # type: ignore[arg-type]


def cell(value: float | None, *, best: bool = False, verdict: str | None = None, reason: str | None = None) -> Cell:
    status = "ok" if value is not None else "n/a"
    seeds = (1,) if value is not None else ()
    return Cell(
        column="c",
        value=value,
        n=200,
        seeds=seeds,
        status=status,
        best=best,
        verdict=verdict,
        reason=reason,  # type: ignore[arg-type]
    )


def report(columns: list[TableColumn], rows: dict[str, list[Cell]], *, profile: str | None = None) -> Report:
    lines = tuple(TableRow(label, label, "measured", tuple(cells)) for label, cells in rows.items())
    title = "Title" + (f" (PROFILE {profile}: digits)" if profile else "")
    return Report("s", "S", profile, (), (), (Table("t", title, tuple(columns), lines),))


def sentences(columns: list[TableColumn], rows: dict[str, list[Cell]]) -> tuple[str, ...]:
    found = findings(report(columns, rows))
    return found[0].sentences if found else ()


def test_the_best_and_those_not_told_from_it() -> None:
    rows = {
        "a": [cell(0.9, best=True)],
        "b": [cell(0.95, best=True)],
        "c": [cell(0.5)],
    }
    assert sentences([column("accuracy")], rows) == ("b is best in accuracy (95.0 %); not told from it: a.",)


@pytest.mark.parametrize(
    ("fact", "tail"),
    [
        (IfCalibrated(0.02, 0.03, 0.95, 0.01), "; a calibrated model would have 2.0 %"),
        (IfCalibrated(0.02, 0.03, 0.95, 0.2), ""),
        (IfCalibrated(0.02, 0.03, 0.95, None), "; a calibrated model would have 2.0 %"),  # a mean over seeds
        (IfCalibrated(0.02, 0.06, 0.95, None), ""),
        (None, ""),
    ],
)
def test_the_best_calibration_error_may_still_be_more_than_chance(fact: IfCalibrated | None, tail: str) -> None:
    rows = {"a": [replace(cell(0.05, best=True), if_calibrated=fact)], "b": [cell(0.09)]}
    assert sentences([column("ECE", "down")], rows) == (f"a is best in ECE (5.0 %{tail}).",)


def test_what_a_calibrated_model_would_have_is_said_of_one_model_and_if_it_differs() -> None:
    fact = IfCalibrated(0.02, 0.03, 0.95, 0.01)
    cells = {"a": [replace(cell(0.05), if_calibrated=fact)], "b": [replace(cell(0.05), if_calibrated=fact)]}
    assert sentences([column("ECE", "down")], {**cells, "c": [cell(0.09)]}) == (
        "a and b have the best number, without a test, in ECE (5.0 %).",
    )
    near = replace(cell(0.05, best=True), if_calibrated=IfCalibrated(0.0499, 0.0499, 0.95, 0.01))
    assert sentences([column("ECE", "down")], {"a": [near], "b": [cell(0.09)]}) == ("a is best in ECE (5.0 %).",)


def test_less_is_better_where_the_column_says_so() -> None:
    rows = {"a": [cell(0.3, best=True)], "b": [cell(0.2, best=True)], "c": [cell(0.9)]}
    assert sentences([column("error", "down")], rows) == ("b is best in error (20.0 %); not told from it: a.",)


def test_columns_of_one_outcome_share_a_sentence_and_groups_their_name() -> None:
    columns = [column("x"), column("8/255", group="PGD"), column("16/255", group="PGD"), column("y")]
    rows = {
        "a": [cell(0.5, best=True), cell(0.4, best=True), cell(0.3, best=True), cell(0.1)],
        "b": [cell(0.1), cell(0.1), cell(0.1), cell(0.3, best=True)],
    }
    assert sentences(columns, rows) == (
        "a is best in x (50.0 %); PGD: 8/255 (40.0 %), 16/255 (30.0 %).",
        "b is best in y (30.0 %).",
    )


def test_without_a_test_the_sentence_says_so() -> None:
    rows = {"a": [cell(0.5), cell(0.1)], "b": [cell(0.1), cell(0.0)]}
    columns = [column("x"), column("norm", unit="l2")]
    assert sentences(columns, rows) == ("a has the best numbers, without a test, in x (50.0 %), norm (0.100).",)


@pytest.mark.parametrize("best", [True, False])
def test_equal_models(best: bool) -> None:
    rows = {label: [cell(0.5, best=best)] for label in ("a", "b")}
    said = "No model is told from the best in x (50.0 %)." if best else "a and b are equal in x (50.0 %)."
    assert sentences([column("x")], rows) == (said,)


def test_equality_is_of_the_models_with_a_number_and_as_printed() -> None:
    rows = {
        "a": [cell(0.50001), cell(0.5)],
        "b": [cell(0.5), cell(0.5)],
        "c": [cell(None), cell(0.4)],
    }
    assert sentences([column("x"), column("y")], rows) == (
        "a and b have the best number, without a test, in y (50.0 %).",
        "a and b are equal in x (50.0 %).",
    )


def test_equal_best_models_are_named_together() -> None:
    rows = {"a": [cell(0.5)], "b": [cell(0.5)], "c": [cell(0.4)]}
    assert sentences([column("x")], rows) == ("a and b have the best number, without a test, in x (50.0 %).",)


def test_masked_numbers_one_number_and_columns_without_direction_say_nothing() -> None:
    rows = {"a": [cell(0.9, verdict="masked")], "b": [cell(0.5)]}
    assert sentences([column("x")], rows) == ()
    assert sentences([column("x", None)], {"a": [cell(0.1)], "b": [cell(0.2)]}) == ()
    rows["c"] = [cell(0.4)]
    assert sentences([column("x")], rows) == ("b has the best number, without a test, in x (50.0 %).",)


def test_an_inconclusive_number_keeps_its_mark() -> None:
    rows = {"a": [cell(0.9, verdict="inconclusive")], "b": [cell(0.5, verdict="no warning")]}
    assert sentences([column("x")], rows) == ("a has the best number, without a test, in x (90.0 %‡).",)
    assert [line for line in caveats(report([column("x")], rows)) if "‡" in line]


def test_quoted_rows_and_comparisons_take_no_part() -> None:
    whole = report([column("x")], {"a": [cell(0.2)], "b": [cell(0.1)]})
    table = whole.tables[0]
    quoted = TableRow("paper", "a", "literature", (cell(0.99),), "Paper")
    with_quoted = replace(whole, tables=(replace(table, rows=(*table.rows, quoted)),))
    assert findings(with_quoted) == findings(whole)
    assert findings(replace(whole, comparison=True)) == []


def test_caveats() -> None:
    rows = {"a": [cell(0.9, verdict="masked")], "b": [cell(0.5, verdict="no warning")]}
    said = caveats(report([column("x")], rows, profile="smoke"))
    assert len(said) == 4
    assert "profile smoke" in said[0]
    assert "trained once" in said[1]
    assert "upper bounds" in said[2]
    assert "Some attacks on a " in said[3]
    for count, expected in ((3, 1), (6, 0)):
        runs = tuple(range(count))
        several = {"a": [replace(cell(0.9), seeds=runs)], "b": [replace(cell(0.8), seeds=runs)]}
        found = caveats(report([column("x")], several))
        assert [line.startswith("Numbers are of 3 training runs") for line in found] == [True] * expected


def test_gaps_are_grouped_by_reason() -> None:
    rows = {
        "a": [cell(None, reason="no weights"), cell(None, reason="no weights"), cell(0.5)],
        "b": [cell(None, reason="no weights"), cell(0.5), cell(None, reason="does not generate")],
    }
    columns = [column("fid"), column("is"), column("fcd", group="G")]
    found = gaps(report(columns, rows, profile="smoke"), {"roc": "no scores are stored"})
    assert [(gap.reason, gap.where) for gap in found] == [
        ("n/a: no weights", ("Title: fid (all rows); is (a)",)),
        ("n/a: does not generate", ("Title: G: fcd (b)",)),
        ("no scores are stored", ("figure roc",)),
    ]


numbers = st.floats(0, 1).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(numbers, st.booleans()), min_size=2, max_size=6))
def test_every_compared_model_is_best_alike_or_worse(values: list[tuple[float, bool]]) -> None:
    top = max((value for value, best in values if best), default=None)
    flagged = [best and (top is None or value <= top) for value, best in values]
    rows = {f"m{i}": [cell(value, best=best)] for i, ((value, _), best) in enumerate(zip(values, flagged, strict=True))}
    (said,) = sentences([column("x")], rows)
    if any(flagged) and not all(flagged):
        for label, best in zip(rows, flagged, strict=True):
            assert (label in said) == best
