"""Columns of numbers that the LaTeX package siunitx aligns at the decimal point."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.layout import Entry
from bench.report.text import cell_text

__all__ = ["SETUP", "NumberColumn", "number_column", "number_of"]

# Font and digits of a number are those that it has in the other formats: siunitx prints mathematics by default, and the
# document may have asked it to round. How digits are grouped is the document's choice.
SETUP = (
    r"\sisetup{mode=text,reset-text-series=false,reset-text-shape=false,retain-explicit-plus,round-mode=none,"
    r"table-align-text-after=false}\def\textminus{\ensuremath{-}}"
)
"""Options of siunitx, version 3, for a table of ours."""

_NUMBER = re.compile(r"(?P<sign>[+-]?)(?=.*\d)(?P<whole>\d*)(?:\.(?P<decimals>\d+))?")


@dataclass(frozen=True)
class NumberColumn:
    """The space that the numbers of a column need.

    Attributes:
        whole: Most digits before the decimal point; 0 if no number has any, as ``.953``.
        decimals: Most digits behind it.
        signed: Whether a number has a sign.
        zero: Whether numbers below 1 are printed with a 0 before the point.
    """

    whole: int
    decimals: int
    signed: bool
    zero: bool

    @property
    def specification(self) -> str:
        """The column in the preamble of a ``tabular``: ``S[table-format=2.1]``."""
        size = ("-" if self.signed else "") + (str(self.whole) if self.whole else "")
        size += f".{self.decimals}" if self.decimals else ""
        return f"S[table-format={size}{'' if self.zero else ',print-zero-integer=false'}]"

    @property
    def width(self) -> int:
        """Characters of the widest number that has room."""
        return self.signed + self.whole + bool(self.decimals) + self.decimals


def number_of(entry: Entry) -> str | None:
    """The number of a cell as siunitx reads it, with the digits that the other formats print; None for anything else.

    A number with an exponent counts as text: one in a column would move the digits of all others apart.
    """
    if entry.cell.value is None or entry.cell.text is not None:
        return None
    text = cell_text(entry.cell, entry.column.unit).replace(",", "")
    return text if _NUMBER.fullmatch(text) else None


def number_column(entries: Sequence[Entry]) -> NumberColumn | None:
    """The space for the numbers of a column of the grid; None if it has none.

    siunitx prints a column's numbers below 1 all with a 0 or all without. Where some have one, as a distance of 0.739
    beside an AUROC of .953, all get one.
    """
    parts = [match for entry in entries if (match := _NUMBER.fullmatch(number_of(entry) or ""))]
    if not parts:
        return None
    zero = not any(part["whole"] == "" for part in parts) or any(part["whole"] == "0" for part in parts)
    return NumberColumn(
        whole=max(int(zero), *(len(part["whole"]) for part in parts)),
        decimals=max(len(part["decimals"] or "") for part in parts),
        signed=any(part["sign"] for part in parts),
        zero=zero,
    )
