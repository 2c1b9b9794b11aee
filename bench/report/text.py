"""How numbers and headings are written, the same in every format."""

from __future__ import annotations

from bench.report.model import Cell, Report, Table, TableColumn

__all__ = ["ARROWS", "cell_text", "groups", "header", "interval_text", "preamble", "value_text"]

ARROWS = {"up": "↑", "down": "↓", None: ""}
_MARKS = {"masked": "†", "inconclusive": "‡"}


def value_text(value: float, unit: str, n: int | None = None, decimals: int | None = None) -> str:
    """A number without its interval: fractions in percent, AUROC as .953, the rest to three or four digits.

    Args:
        value: The number.
        unit: Of its column.
        n: Items that it was measured on: of fewer than a thousand a second decimal of a percentage says nothing.
            None (quoted numbers): as many decimals as the source gave, at most two.
        decimals: That a number of unit ``"1"`` carries; None: three digits.
    """
    if unit == "fraction":
        short = n is not None and n < 1000
        short |= n is None and round(100 * value, 2) == round(100 * value, 1)
        return f"{100 * value:.1f}" if short else f"{100 * value:.2f}"
    if unit == "auroc":
        return f"{value:.3f}".removeprefix("0")
    if unit == "l2":
        return f"{value:.3f}"
    return _plain(value, decimals)


def _plain(value: float, decimals: int | None = None) -> str:
    """So many decimals, else three digits or all of the integer part; never an exponent for large numbers."""
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def interval_text(cell: Cell, unit: str) -> str:
    """``[low, high]``, or nothing."""
    if cell.interval is None:
        return ""
    digits = {"fraction": 1, "auroc": 3, "l2": 3}.get(unit)
    scale = 100 if unit == "fraction" else 1
    ends = []
    for end in (cell.interval.low, cell.interval.high):
        text = f"{scale * end:.{digits}f}" if digits is not None else _plain(end, cell.decimals)
        ends.append(text.removeprefix("0") if unit == "auroc" else text)
    return f"[{ends[0]}, {ends[1]}]"


def cell_text(cell: Cell, unit: str) -> str:
    """What stands in a cell, without bold: the number with its verdict's mark, or why there is none."""
    if cell.value is None:
        return {"n/a": "n/a", "failed": "failed", "diverged": "diverged", "pending": "…"}.get(cell.status, "")
    return value_text(cell.value, unit, cell.n, cell.decimals) + _MARKS.get(cell.verdict or "", "")


def header(column: TableColumn) -> str:
    """The label of a column with unit and direction."""
    percent = (", %" if column.label[-1:].isdigit() else " %") if column.unit == "fraction" else ""
    arrow = ARROWS[column.direction]
    return f"{column.label}{percent}{' ' + arrow if arrow else ''}"


def preamble(report: Report) -> list[str]:
    """Lines about the run as a whole: profile and substitutions, deviations from the paper."""
    lines = []
    if report.profile:
        swapped = ", ".join(f"{a} → {b}" for a, b in report.substitutions)
        lines.append(f"PROFILE {report.profile}" + (f": data sets {swapped}" if swapped else ""))
    lines += [f"Differs from the paper: {line}" for line in report.deviations]
    return lines


def groups(table: Table) -> list[tuple[str, int]]:
    """Neighbouring columns under one heading, as (heading, number of columns)."""
    found: list[tuple[str, int]] = []
    for column in table.columns:
        if found and column.group and found[-1][0] == column.group:
            found[-1] = (column.group, found[-1][1] + 1)
        else:
            found.append((column.group, 1))
    return found
