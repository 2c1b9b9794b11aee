r"""LaTeX for a paper: booktabs tables that compile with pdflatex, in one column or two.

The width of a page (345 pt in the standard classes) and of a column (at least 219 pt in the common two-column styles)
sets the rules:

* Tables of at most six columns have intervals, in small print under the numbers. Tables with more columns are set
  smaller and have none (JSON, CSV and HTML have them), and a note says so.
* The notes of a table end with the definitions of its numbers. If that makes it longer than a page, the last of them
  follow it as text.
* The width of a table is estimated from the lengths of its texts. A table that fits a column is a ``table``. A wider
  one is a ``table*``, which spans both columns of a page (in a document of one column it is the same as ``table``). One
  that may be wider than the page, or has more than eight columns, is shrunk to the text width with ``\resizebox``,
  which needs the package graphicx. The comment at the head of the output names the packages that are needed.

Columns of numbers are set flush right, or with the package siunitx (``latex-siunitx`` of the command line) as ``S``
columns, which align numbers of different precision at the decimal point. What is no number is then in braces, and
centered.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import accumulate

from bench.plain import plain
from bench.report.latex_text import escaped
from bench.report.layout import Entry, Grid, Line, grid_of, neighbours
from bench.report.model import Report, Table
from bench.report.number_columns import SETUP, NumberColumn, number_column, number_of
from bench.report.text import (
    aside_text,
    cell_text,
    counted,
    definitions,
    has_intervals,
    mark_text,
    origins,
    preamble,
)

__all__ = [
    "ENDING",
    "MAX_COLUMNS_UNSCALED",
    "MAX_COLUMNS_WITH_INTERVALS",
    "render",
    "render_table",
    "render_with_siunitx",
]

ENDING = "tex"

MAX_COLUMNS_WITH_INTERVALS = 6
"""Tables with more columns print no intervals."""

MAX_COLUMNS_UNSCALED = 8
r"""Tables with more columns are scaled to the text width."""

# Characters that fit on 345 pt in \small and in \footnotesize, including two per column for the gap.
_PAGE_WITH_INTERVALS = 73
_PAGE_WITHOUT_INTERVALS = 84
_COLUMN = 219 / 345
"""Width of a column in a two-column style, as a share of the page."""
_TINY = 0.65
r"""Width of a character in \tiny, as a share of one in \small."""

_LINES = 36
"""Lines of a table that fit on a page with the caption."""

_LONG_LABEL = 10

_SHRUNK = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
"""To the text width if it is wider: its width is only estimated here, and a narrow table must not grow."""


def render(report: Report, *, siunitx: bool = False) -> str:
    """All tables, and the notes on the run below them.

    Args:
        report: The tables.
        siunitx: Whether numbers are aligned by siunitx.
    """
    parts = [_comments(report, siunitx), *(render_table(table, siunitx=siunitx) for table in report.tables)]
    footer = preamble(report)
    if footer:
        lines = "\n".join(rf"{escaped(line)}\par" for line in footer)
        parts.append(f"{{\\footnotesize\\noindent\\raggedright\n{lines}\n}}\n")
    return "\n".join(parts)


def render_with_siunitx(report: Report) -> str:
    """As `render`, with numbers that siunitx aligns at the decimal point."""
    return render(report, siunitx=True)


def render_table(table: Table, *, siunitx: bool = False) -> str:
    r"""One table as a float with caption, label ``tab:<id>`` and notes, to be \input in a document.

    Best values are bold; literature rows stand below a rule, in italics, with their origins numbered in the notes.
    """
    grid, with_intervals, scaled = grid_of(table), _shows_intervals(table), _needs_scaling(table, siunitx)
    environment = "table*" if scaled or _share_of_page(table, siunitx) > _COLUMN else "table"
    numbers = _number_columns(grid, siunitx)
    texts = "c" if siunitx else "r"
    body = _heading(grid, numbers, texts)
    for section in grid.sections:
        body.append(r"\midrule")
        if section.title:
            body.append(rf"\multicolumn{{{len(grid.heads) + 1}}}{{l}}{{\textit{{{escaped(section.title)}}}}} \\")
        for line in section.lines:
            body += _line(line, table, numbers)
    label = re.sub(r"[^A-Za-z0-9:.-]", "-", table.id)
    notes = _notes(table)
    room = _room(len(body), notes, wide=environment == "table*")
    lines = [
        rf"\begin{{{environment}}}[tbp]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{4pt}",
        rf"\caption{{{escaped(table.title) or escaped(table.id)}}}",
        rf"\label{{tab:{label}}}",
        r"\small" if with_intervals else r"\footnotesize",
        rf"\setlength{{\tabcolsep}}{{{'4.5pt' if with_intervals else '3pt'}}}",
        *([SETUP] if any(numbers) else []),
        *([_SHRUNK] if scaled else []),
        rf"\begin{{tabular}}{{l{''.join(column.specification if column else texts for column in numbers)}}}",
        r"\toprule",
        *body,
        r"\bottomrule",
        r"\end{tabular}" + ("}" if scaled else ""),
        *_below(notes[:room]),
        rf"\end{{{environment}}}",
        *_after(label, notes[room:]),
    ]
    return "\n".join(lines) + "\n"


def _comments(report: Report, siunitx: bool) -> str:
    packages = ["booktabs"]
    if siunitx:
        packages.append("siunitx (version 3 or later)")
    if any(_needs_scaling(table, siunitx) for table in report.tables):
        packages.append(rf"graphicx (\resizebox of tables with more than {MAX_COLUMNS_UNSCALED} columns or long texts)")
    lines = [
        f"Suite: {report.suite} ({report.title})",
        f"Profile: {report.profile or 'none (full)'}",
        f"Packages: {', '.join(packages)}",
        f"Intervals are printed in tables of at most {MAX_COLUMNS_WITH_INTERVALS} columns.",
        "A table* spans both columns of a page; in a document of one column it is the same as a table.",
    ]
    return "".join(f"% {plain(line)}\n" for line in lines)


def _number_columns(grid: Grid, siunitx: bool) -> list[NumberColumn | None]:
    """For each heading the space of its numbers; None for a column without numbers, and for all without siunitx."""
    if not siunitx:
        return [None] * len(grid.heads)
    return [number_column([line.entries[index] for line in grid.lines]) for index in range(len(grid.heads))]


def _heading(grid: Grid, numbers: Sequence[NumberColumn | None], side: str) -> list[str]:
    """One header row, or two where headings have groups, with rules under the groups; ``side`` is where texts stand."""
    texts = [_label(head.text, side) for head in grid.heads]
    braced = (f"{{{text}}}" if number else text for text, number in zip(texts, numbers, strict=True))
    labels = " & ".join([grid.corner, *braced]) + r" \\"
    if not any(head.group for head in grid.heads):
        return [labels]
    cells, rules = [""], []
    first = 2
    for group, heads in neighbours(grid.heads):
        width = len(heads)
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escaped(group)}}}" if group else "")
        if group:
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return [" & ".join(cells) + r" \\", " ".join(rules), labels]


def _label(text: str, side: str) -> str:
    """A column's label, in one line or two."""
    lines = [escaped(line) for line in _broken(text)]
    return lines[0] if len(lines) == 1 else rf"\shortstack[{side}]{{" + r"\\".join(lines) + "}"


def _broken(text: str) -> list[str]:
    """The lines of a column's label: a long one is broken at the blank that leaves the narrowest pair."""
    # An arrow stays with the word before it.
    words = re.sub(r" (?=[↑↓])", "\u00a0", text).split(" ")
    if len(text) <= _LONG_LABEL or len(words) < 2:
        return [text]
    pairs = ([" ".join(words[:i]), " ".join(words[i:])] for i in range(1, len(words)))
    return min(pairs, key=lambda pair: max(map(len, pair)))


def _shows_intervals(table: Table) -> bool:
    return len(grid_of(table).heads) <= MAX_COLUMNS_WITH_INTERVALS


def _needs_scaling(table: Table, siunitx: bool) -> bool:
    return len(grid_of(table).heads) > MAX_COLUMNS_UNSCALED or _share_of_page(table, siunitx) > 1


def _share_of_page(table: Table, siunitx: bool) -> float:
    """Estimated width of a table as a share of the page."""
    grid, with_intervals, sizes = grid_of(table), _shows_intervals(table), counted(table)
    widths = []
    for index, (head, number) in enumerate(zip(grid.heads, _number_columns(grid, siunitx), strict=True)):
        entries = [line.entries[index] for line in grid.lines]
        texts = _broken(head.text) + [cell_text(e.cell, e.column.unit) + mark_text(e.cell) for e in entries]
        asides = [aside_text(e.cell, e.column.unit, sizes, interval=with_intervals) for e in entries]
        room = [float(number.width)] if number else []
        widths.append(max([float(len(text)) for text in texts] + [_TINY * len(text) for text in asides] + room))
    labels = max(map(len, [grid.corner, *(plain(line.label) for line in grid.lines)]))
    total = labels + 2.0 * (len(widths) + 1)
    start = 0
    for group, heads in neighbours(grid.heads):
        size = len(heads)
        total += max(sum(widths[start : start + size]), len(group) - 2 * (size - 1))
        start += size
    return total / (_PAGE_WITH_INTERVALS if with_intervals else _PAGE_WITHOUT_INTERVALS)


def _line(line: Line, table: Table, numbers: Sequence[NumberColumn | None]) -> list[str]:
    label = escaped(line.label)
    if line.row is not None and line.quoted:
        label = rf"\textit{{{label}}}"
        if line.row.origin:
            label += rf"\textsuperscript{{{origins(table).index(line.row.origin) + 1}}}"
    cells = [_cell(entry, column) for entry, column in zip(line.entries, numbers, strict=True)]
    lines = [" & ".join([label, *cells]) + r" \\"]
    with_intervals, sizes = _shows_intervals(table), counted(table)
    asides = [aside_text(e.cell, e.column.unit, sizes, interval=with_intervals) for e in line.entries]
    if any(asides):
        # The asterisk forbids a page break here; the negative space moves the interval close to its number.
        lines[0] += r"*[-3pt]"
        small = (rf"{{\tiny {escaped(text)}}}" if text else "" for text in asides)
        lines.append(" & ".join(["", *small]) + r" \\")
    return lines


def _cell(entry: Entry, column: NumberColumn | None) -> str:
    cell, quoted = entry.cell, entry.row.source == "literature"
    mark = escaped(mark_text(cell))
    # A box without width keeps the digits of the column aligned.
    raised = rf"\rlap{{\textsuperscript{{{mark}}}}}" if mark else ""
    number = number_of(entry) if column else None
    if number is not None:
        fonts = (r"\bfseries" if cell.best else "") + (r"\itshape" if quoted else "")
        return (f"{fonts} " if fonts else "") + number + (f"{{{raised}}}" if raised else "")
    shown = escaped(cell_text(cell, entry.column.unit))
    if cell.best:
        shown = rf"\textbf{{{shown}}}"
    if quoted:
        shown = rf"\textit{{{shown}}}"
    return f"{{{shown}{raised}}}" if column else shown + raised


def _notes(table: Table) -> list[str]:
    notes = [escaped(note) for note in table.notes]
    if has_intervals(table) and not _shows_intervals(table):
        notes.append("Intervals are not shown here for want of width.")
    notes += [rf"\textsuperscript{{{number}}}{escaped(text)}" for number, text in enumerate(origins(table), 1)]
    # All in one paragraph: one line per definition would be longer than the table.
    explained = [rf"\textit{{{escaped(names)}}}: {escaped(text)}" for names, text in definitions(table)]
    return [*notes, "; ".join(explained) + "."] if explained else notes


def _room(lines: int, notes: Sequence[str], *, wide: bool) -> int:
    """How many of the notes probably fit on a page with a table of so many lines. A float that is longer runs off."""
    # Notes are set in \footnotesize, in lines four fifths as high as those of the table.
    width = _PAGE_WITHOUT_INTERVALS * (1 if wide else _COLUMN)
    heights = accumulate(0.8 * math.ceil(len(note) / width) for note in notes)
    return sum(lines + height <= _LINES for height in heights)


def _below(notes: Sequence[str]) -> list[str]:
    """Notes below the table, in its float."""
    if not notes:
        return []
    return [
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
        *(rf"{note}\par" for note in notes),
        r"\end{minipage}",
    ]


def _after(label: str, notes: Sequence[str]) -> list[str]:
    """Notes for which the float has no room, as text, in which pages may end."""
    if not notes:
        return []
    first, *more = notes
    return [
        r"{\footnotesize\noindent\raggedright",
        rf"On Table~\ref{{tab:{label}}}: {first}\par",
        *(rf"{note}\par" for note in more),
        "}",
    ]
