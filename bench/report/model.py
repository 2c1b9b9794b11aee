"""Tables as data: what every renderer and every script reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from bench.errors import RequestError, did_you_mean
from bench.metrics.intervals import Interval

__all__ = ["Cell", "CellStatus", "Figure", "Report", "Table", "TableColumn", "TableRow"]

CellStatus = Literal["ok", "n/a", "failed", "diverged", "pending"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One entry of a table.

    Attributes:
        column: Id of its column.
        value: Mean over seeds; fractions in [0, 1]. None unless ``status`` is ``"ok"``.
        n: Items of each seed that the number was measured on; the fewest, where seeds differ.
        n_common: Items that all rows of the column with a number share, on which a paired test compares them; None
            where nothing is compared.
        seeds: Training seeds that contributed.
        interval: Over items for one seed, over seeds for several.
        decimals: Decimals that a number of unit ``"1"``, or an AUROC near its end, carries; None: as the unit has it.
        sd: Standard deviation over seeds (n - 1), for two and more.
        status: Whether there is a number, and if not what kept it.
        reason: Why there is none, or what is special about it.
        best: Best measured value of the column, or not distinguishable from it; bold.
        verdict: For robustness: ``"masked"``, ``"inconclusive"``, ``"no warning"``.
        flags: Raised warnings with their texts.
        not_measured: Checks behind the verdict for which there was no data.
        records: Keys of the records behind the number.
    """

    column: str
    value: float | None = None
    n: int | None = None
    n_common: int | None = None
    decimals: int | None = None
    seeds: tuple[int, ...] = ()
    interval: Interval | None = None
    sd: float | None = None
    status: CellStatus = "pending"
    reason: str | None = None
    best: bool = False
    verdict: str | None = None
    flags: Mapping[str, str] = field(default_factory=dict)
    not_measured: tuple[str, ...] = ()
    records: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableColumn:
    """A column: everything below it has this one definition."""

    id: str
    label: str
    group: str
    direction: Literal["up", "down"] | None
    unit: str
    definition: str
    tested: bool


@dataclass(frozen=True)
class TableRow:
    """A model, or numbers quoted from a paper.

    Attributes:
        origin: For literature: what it is quoted from, and whether it can be compared.
        made_with: Libraries and machines behind its numbers, as far as the rows of the table differ in them.
    """

    label: str
    family: str
    source: Literal["measured", "literature"]
    cells: tuple[Cell, ...]
    origin: str = ""
    made_with: str = ""


class Figure(Protocol):
    """A picture of what a table shows."""

    @property
    def title(self) -> str:
        """What is drawn."""

    @property
    def caption(self) -> str:
        """What the reader must know of it."""

    @property
    def png(self) -> bytes:
        """The file; drawn when it is asked for."""


@dataclass(frozen=True)
class Table:
    """A table with what has to be printed under it, and its figures (``bench.report.figures``) by their suffix."""

    id: str
    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """All tables of a suite.

    Attributes:
        budget: What training one seed of each model costs; empty if nothing is trained.
        stored: Why the tables were not made from the suite and the store but read from what a run left; else empty.
    """

    suite: str
    title: str
    profile: str | None
    substitutions: tuple[tuple[str, str], ...]
    deviations: tuple[str, ...]
    tables: tuple[Table, ...]
    budget: str = ""
    stored: str = ""

    def only_tables(self, ids: Sequence[str]) -> Report:
        """The report with the named tables alone, in the order of the suite; all of them for no names.

        Raises:
            RequestError: The suite has no table of a name.
        """
        known = [table.id for table in self.tables]
        for name in ids:
            if name not in known:
                raise RequestError(f"suite {self.suite} has no table {name!r}; {did_you_mean(name, known)}")
        return replace(self, tables=tuple(table for table in self.tables if table.id in ids)) if ids else self

    def without_definitions(self) -> Report:
        """The report without what each column is: for a narrow page."""
        tables = (
            replace(table, columns=tuple(replace(column, definition="") for column in table.columns))
            for table in self.tables
        )
        return replace(self, tables=tuple(tables))
