"""Rows of numbers quoted from papers, and the differences of measured numbers to them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scipy.special import stdtrit

from bench.metrics.intervals import Interval, wilson
from bench.report.literature import LiteratureRow, load_literature
from bench.report.model import Cell, TableColumn, TableRow
from bench.report.parts import Parts
from bench.suite.schema import ResolvedTable

__all__ = ["Quoted", "difference_rows", "quoted_rows"]

_ABSENT = "not in the source"
_ENOUGH_SEEDS = 3
"""Fewest seeds whose spread gives an interval for another run."""


@dataclass(frozen=True)
class Quoted:
    """The quoted rows of a table.

    Attributes:
        rows: The rows.
        notes: Notes on the numbers.
        items: By row and column, the number of test items behind a quoted share.
        comparable: Whether the suite runs at full size, so that differences may be taken.
    """

    rows: tuple[TableRow, ...] = ()
    notes: tuple[str, ...] = ()
    items: tuple[dict[str, int | None], ...] = field(default=())
    comparable: bool = True


def quoted_rows(table: ResolvedTable, parts: Parts, folders: Sequence[Path]) -> Quoted:
    """The rows that the sources of a table quote for the data sets of its columns.

    Under a profile the suite's own data set counts, although another takes its place, and the rows say that they are
    not comparable, as do those beside a suite that trains on a part of its data or on resized images. The numbers of
    one label in one table of a source are one row, also for several data sets.

    Args:
        table: The table.
        parts: The results of the suite, by data set.
        folders: Folders of quoted numbers.
    """
    comparable = parts.plan.suite.profile is None and not parts.plan.suite.reduced
    wanted = _wanted(table, parts)
    rows: list[TableRow] = []
    notes: list[str] = []
    items: list[dict[str, int | None]] = []
    for name in table.literature:
        source = load_literature(name, folders)
        found: dict[tuple[str, str, str], list[LiteratureRow]] = {}
        for row in source.rows:
            if any(_quotes(row, key, data) for _, key, data in wanted):
                found.setdefault((row.label, row.table, row.secondary), []).append(row)
        for (label, where, secondary), quoted in found.items():
            cells, of_row = [], {}
            for column, key, data in wanted:
                match = next((row for row in quoted if _quotes(row, key, data)), None)
                of_row[column] = match.n if match is not None else None
                cells.append(
                    _cell(column, match.values[key] if match is not None else None, settings=bool(table.settings))
                )
            data_sets = ", ".join(dict.fromkeys(row.dataset.upper() for row in quoted))
            origin = f"{source.source.title}, {where}"
            origin += f", secondary: read in {secondary}" if secondary else ""
            threats = dict.fromkeys(row.threat for row in quoted if row.threat)
            origin += "".join(f", {threat}" for threat in threats)
            origin += f", {data_sets}, not comparable" if not comparable else ""
            first = quoted[0]
            rows.append(
                TableRow(
                    label, first.family, "literature", tuple(cells), origin, group=first.group if table.groups else ""
                )
            )
            items.append(of_row)
        notes += _caveats(row for quoted in found.values() for row in quoted)
        if not found:
            own = ", ".join(dict.fromkeys(data for _, _, data in wanted))
            notes.append(f"{source.source.title} quotes no number of this table for {own}.")
    return Quoted(tuple(rows), tuple(notes), tuple(items), comparable)


def _caveats(rows: Iterable[LiteratureRow]) -> list[str]:
    """What to know about quoted rows, each once with their labels."""
    labels: dict[str, list[str]] = {}
    for row in rows:
        if row.caveat:
            labels.setdefault(row.caveat, []).append(row.label)
    return [f"Quoted {', '.join(dict.fromkeys(names))}: {caveat}" for caveat, names in labels.items()]


def _wanted(table: ResolvedTable, parts: Parts) -> list[tuple[str, str, str]]:
    """Of each column: its id, its name in the files of quoted numbers, and its data set as the suite file names it."""
    if table.settings:
        return [(key, key, leaf.original_dataset) for leaf in parts.plan.suite.leaves[:1] for key in table.settings]
    return [(c.id, c.written.removeprefix(f"{c.dataset}/"), parts.suite(c).original_dataset) for c in table.columns]


def _quotes(row: LiteratureRow, column: str, dataset: str) -> bool:
    return row.dataset == dataset and column in row.values


def _cell(column: str, value: float | None, *, settings: bool) -> Cell:
    if value is None:
        return Cell(column=column, status="n/a", reason=_ABSENT, text="" if settings else None)
    return Cell(column=column, value=value, status="ok", text=f"{value:,g}" if settings else None)


def difference_rows(measured: Sequence[TableRow], quoted: Quoted, columns: Sequence[TableColumn]) -> Iterator[TableRow]:
    """The differences of measured to quoted numbers of the same family, which are not tested.

    One seed has the interval of the difference of two independent shares, from the number of items of both (Newcombe
    1998, method 10); three or more seeds have the prediction interval for one further run. Other numbers have none.

    Args:
        measured: The measured rows.
        quoted: The quoted rows; under a profile there are no differences.
        columns: The columns of the table.
    """
    for row in measured if quoted.comparable else ():
        for other, items in zip(quoted.rows, quoted.items, strict=True):
            if not other.family or other.family != row.family:
                continue
            cells = [_difference(*pair, items) for pair in zip(row.cells, other.cells, columns, strict=True)]
            if any(cell.value is not None for cell in cells):
                yield TableRow(f"{row.label} - {other.label}", row.family, "difference", tuple(cells), other.origin)


def _difference(mine: Cell, paper: Cell, column: TableColumn, items: dict[str, int | None]) -> Cell:
    if mine.value is None or paper.value is None:
        reason = mine.reason or mine.status if mine.value is None else _ABSENT
        return Cell(column=column.id, status="n/a", reason=reason, signed=True)
    return Cell(
        column=column.id,
        value=mine.value - paper.value,
        n=mine.n,
        seeds=mine.seeds,
        interval=_interval(mine, paper.value, column, items.get(column.id)),
        decimals=mine.decimals,
        status="ok",
        verdict=mine.verdict,
        records=mine.records,
        signed=True,
    )


def _interval(mine: Cell, paper: float, column: TableColumn, n: int | None) -> Interval | None:
    assert mine.value is not None
    difference, seeds = mine.value - paper, len(mine.seeds)
    if seeds >= _ENOUGH_SEEDS and mine.sd is not None:
        half = float(stdtrit(seeds - 1, 0.975)) * mine.sd * math.sqrt(1 + 1 / seeds)
        return Interval(difference - half, difference + half, 0.95, "prediction of one run")
    if seeds != 1 or column.unit != "fraction" or n is None or mine.n is None:
        return None
    ours, theirs = (wilson(round(share * count), count) for share, count in ((mine.value, mine.n), (paper, n)))
    low = math.hypot(mine.value - ours.low, theirs.high - paper)
    high = math.hypot(ours.high - mine.value, paper - theirs.low)
    return Interval(difference - low, difference + high, 0.95, "two samples, Newcombe")
