"""Tables as data: the input of every format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from bench.errors import RequestError, did_you_mean
from bench.metrics.intervals import IfCalibrated, Interval

if TYPE_CHECKING:
    from bench.suite.schema import ResolvedColumn

__all__ = ["Block", "Cell", "CellStatus", "Figure", "Report", "Table", "TableColumn", "TableRow"]

CellStatus = Literal["ok", "n/a", "failed", "diverged", "pending"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One entry of a table.

    Attributes:
        column: Id of its column.
        value: Mean over seeds; fractions in [0, 1]. None unless ``status`` is ``"ok"``.
        n: Number of items behind the number, for each seed; the smallest, if seeds differ.
        n_most: The largest, if seeds differ; else None.
        n_common: Number of items that all rows of the column with a number share, on which a paired test compares
            them; None if nothing is compared.
        seeds: Training seeds with a number.
        interval: Over items for one seed, over seeds for several.
        if_calibrated: For a calibration error: what a calibrated model with the same confidences would score. For
            several seeds the means of its numbers, without a p value. None for other numbers, or if a seed has none.
        decimals: Decimals of a number of unit ``"1"``, or of an AUROC near 0 or 1; None: those of the unit.
        sd: Standard deviation over seeds (divisor n - 1); None for a single seed.
        status: Whether there is a number; if not, the kind of reason.
        reason: Why there is no number, or a remark on it.
        best: Whether the value is the best measured one of the column or not told from it; printed bold.
        verdict: For robustness: ``"masked"``, ``"inconclusive"``, ``"confirmed"``, ``"no warning"``.
        flags: Raised warnings with their texts.
        not_measured: Checks behind the verdict for which there was no data.
        records: Keys of the records behind the number.
        signed: Whether the number is a difference, which is printed with its sign.
        p: p value of a difference of 0; None if it was not tested.
        p_corrected: The same after the correction for the rows of the column.
        text: What stands in place of a number, in a table of settings; None in a table of numbers.
    """

    column: str
    value: float | None = None
    n: int | None = None
    n_most: int | None = None
    n_common: int | None = None
    decimals: int | None = None
    seeds: tuple[int, ...] = ()
    interval: Interval | None = None
    if_calibrated: IfCalibrated | None = None
    sd: float | None = None
    status: CellStatus = "pending"
    reason: str | None = None
    best: bool = False
    verdict: str | None = None
    flags: Mapping[str, str] = field(default_factory=dict)
    not_measured: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    signed: bool = False
    p: float | None = None
    p_corrected: float | None = None
    text: str | None = None


@dataclass(frozen=True)
class TableColumn:
    """A column; one definition holds for all its cells."""

    id: str
    label: str
    group: str
    direction: Literal["up", "down"] | None
    unit: str
    definition: str
    tested: bool

    @classmethod
    def of(cls, column: ResolvedColumn) -> TableColumn:
        """The column of a suite's table."""
        declared = column.column
        return cls(
            id=column.id,
            label=declared.label,
            group=declared.group,
            direction=declared.direction,
            unit=declared.unit,
            definition=declared.definition,
            tested=declared.test is not None,
        )


@dataclass(frozen=True)
class TableRow:
    """A model, numbers quoted from a paper, or the differences between the two.

    Attributes:
        origin: For literature: the source, and a remark if the numbers are not comparable.
        made_with: Libraries and machines behind its numbers, where the rows of the table differ in them.
        group: Heading of the rows that it stands with; empty in a table without groups of rows.
    """

    label: str
    family: str
    source: Literal["measured", "literature", "difference"]
    cells: tuple[Cell, ...]
    origin: str = ""
    made_with: str = ""
    group: str = ""


@dataclass(frozen=True)
class Block:
    """Columns that people read below those of the block before it, under the same headings.

    Attributes:
        title: Heading of the block.
        columns: Indices of its columns in the table.
    """

    title: str
    columns: tuple[int, ...]


class Figure(Protocol):
    """A figure, such as the chart of a table."""

    @property
    def title(self) -> str:
        """The title, as printed above the figure."""

    @property
    def caption(self) -> str:
        """The explanation, as printed below the figure."""

    @property
    def png(self) -> bytes:
        """The content of the PNG file, drawn on demand."""

    @property
    def pdf(self) -> bytes:
        """The content of the PDF file, drawn on demand."""


@dataclass(frozen=True)
class Table:
    """A table with the notes below it, and its chart, if its columns are points of curves.

    Attributes:
        blocks: How the columns are stacked for people; empty if they stand side by side.
        transposed: Whether people read models from left to right and columns from top to bottom.
    """

    id: str
    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    chart: Figure | None = None
    blocks: tuple[Block, ...] = ()
    transposed: bool = False


@dataclass(frozen=True)
class Report:
    """All tables of a suite.

    Attributes:
        budget: The note on the cost of training one seed of each model; empty if nothing is trained.
        remarks: Lines about the report as a whole, such as what differs between two compared runs.
        comparison: Whether the tables hold differences, in which bold marks those that are told from 0.
        stored: Why the tables are those that a former run stored and not made anew; else empty.
    """

    suite: str
    title: str
    profile: str | None
    substitutions: tuple[tuple[str, str], ...]
    deviations: tuple[str, ...]
    tables: tuple[Table, ...]
    budget: str = ""
    stored: str = ""
    remarks: tuple[str, ...] = ()
    comparison: bool = False

    def only_tables(self, ids: Sequence[str]) -> Report:
        """The report with the named tables alone, in the order of the suite; with all tables if ``ids`` is empty.

        Raises:
            RequestError: If the suite has no table of a name.
        """
        known = [table.id for table in self.tables]
        for name in ids:
            if name not in known:
                raise RequestError(f"suite {self.suite} has no table {name!r}; {did_you_mean(name, known)}")
        return replace(self, tables=tuple(table for table in self.tables if table.id in ids)) if ids else self

    def without_definitions(self) -> Report:
        """The report without the definitions of its columns, for a narrow page."""
        tables = (
            replace(table, columns=tuple(replace(column, definition="") for column in table.columns))
            for table in self.tables
        )
        return replace(self, tables=tuple(tables))
