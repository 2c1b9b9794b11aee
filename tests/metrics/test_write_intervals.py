"""docs/intervals.md lists every simulated case with values within its limits."""

from __future__ import annotations

import math

import pytest

from tests.metrics.simulation import Measured, assert_limits, measured
from tests.metrics.write_intervals import FILE, SECTIONS, row

CASES = [case for cases in SECTIONS.values() for case in cases]


def test_each_case_has_a_name_of_its_own_and_a_reason_for_other_limits() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        if case.coverage not in (None, (93.0, 97.0)) or case.size not in (None, (3.5, 6.0)):
            assert case.why, case.name


def test_the_committed_table_holds_the_limits() -> None:
    """``make slow`` simulates again; here the written values are checked, row by row."""
    rows = [line for line in FILE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    for case in CASES:
        start = f"| {case.method} | {case.setting} | {case.n} |"
        (line,) = [line for line in rows if line.startswith(start)]
        coverage, width, rejected, why = (cell.strip() for cell in line.removeprefix(start)[:-1].split("|"))
        assert why == case.why
        found = Measured(
            coverage=float(coverage or "nan"),
            width=float(width or "nan"),
            rejected=float(rejected) if rejected else None,
        )
        assert_limits(case, found)


def test_a_simulation_is_a_function_of_the_case() -> None:
    (case,) = [case for case in CASES if case.name == "wilson, p = .9, n = 100"]
    found = measured(case, repetitions=50)
    assert found == measured(case, repetitions=50)
    assert 80 <= found.coverage <= 100
    assert row(case, found) == f"| wilson | p = .9 | 100 | {found.coverage:.1f} | {found.width:.3g} |  |  |"


def test_a_case_outside_of_its_limits_fails() -> None:
    case = CASES[0]
    assert_limits(case, Measured(95.0, 0.1, None))
    for coverage in (92.9, 97.1, math.nan):
        with pytest.raises(AssertionError, match="covers"):
            assert_limits(case, Measured(coverage, 0.1, None))
