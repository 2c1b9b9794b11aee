"""Markdown: GitHub's dialect."""

from __future__ import annotations

import re

from bench.plain import plain
from bench.report.layout import Entry, Line, full_head, grid_of
from bench.report.model import Report, Table
from bench.report.text import aside_text, cell_text, counted, definitions, mark_text, preamble

__all__ = ["ENDING", "escaped", "render", "render_table"]

ENDING = "md"

_MEANING = re.compile(
    r"""
      (?P<backslash> \\ (?= [!-/:-@\[-`{-~] | $ ) )           # an escape where punctuation follows
    | (?P<less> < (?= [A-Za-z/!?] ) )                        # a tag, a comment, an address
    | (?P<and> & (?= \# | [A-Za-z][A-Za-z0-9]* ; ) )         # an entity
    | ^ (?P<number> \d+ ) (?= [.)] (?: [ ] | $ ) )           # a numbered list
    | (?P<other>
          [*`~$|]                                            # emphasis, code, strike-through, formula; end of a cell
        | _ (?! [^\W_] ) | (?<! [^\W_] ) _                   # emphasis, but not inside of a word
        | \] (?= \( ) | ^ \[                                 # a link, a picture; the definition of one, a box to tick
        | ^ (?: \# | > | [-+=] (?= [ =+-] | $ ) )            # a heading, a quotation, a list, a rule
      )
    """,
    re.VERBOSE,
)


def render(report: Report) -> str:
    """All tables, and the notes on the run below them."""
    parts = [render_table(table) for table in report.tables]
    footer = preamble(report)
    if footer:
        parts.append("\n".join(f"- {escaped(line)}" for line in footer) + "\n")
    return "\n".join(parts)


def render_table(table: Table) -> str:
    """One table with title, notes and definitions; intervals follow the numbers.

    Labels, titles and notes are escaped, so that they are shown as they are spelt.
    """
    grid, sizes = grid_of(table), counted(table)
    heads = [grid.corner, *(escaped(full_head(head)) for head in grid.heads)]
    rows = []
    for section in grid.sections:
        if section.title:
            rows.append([f"**{escaped(section.title)}**", *("" for _ in grid.heads)])
        rows += [[_label(line), *(_cell(entry, sizes) for entry in line.entries)] for line in section.lines]
    widths = [max(len(line[i]) for line in [heads, *rows]) for i in range(len(heads))]
    lines = [f"**{escaped(table.title) or escaped(table.id)}**", "", _line(heads, widths)]
    lines.append(
        "|" + "|".join("-" * (width + 1) + ":" if i else "-" * (width + 2) for i, width in enumerate(widths)) + "|"
    )
    lines += [_line(row, widths) for row in rows]
    lines.append("")
    lines += [f"- {escaped(note)}" for note in table.notes]
    lines += [f"- {escaped(f'{names}: {text}')}" for names, text in definitions(table)]
    return "\n".join(lines) + "\n"


def _label(line: Line) -> str:
    label = escaped(line.label)
    return f"*{label}* ({escaped(line.row.origin)})" if line.row is not None and line.quoted else label


def _cell(entry: Entry, sizes: frozenset[str]) -> str:
    cell, unit = entry.cell, entry.column.unit
    text = escaped(cell.text) if cell.text is not None else cell_text(cell, unit) + mark_text(cell)
    if cell.best:
        text = f"**{text}**"
    aside = aside_text(cell, unit, sizes)
    return f"{text} {aside}" if aside else text


def _line(cells: list[str], widths: list[int]) -> str:
    padded = [
        text.ljust(width) if i == 0 else text.rjust(width)
        for i, (text, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"


def escaped(text: str) -> str:
    """Text as one line of Markdown that shows it as it is spelt, in a cell, a list item or a paragraph.

    Only characters with a meaning in Markdown are escaped, so that the source stays legible: ``L_inf``, ``n <= 400``
    and ``[8/255]`` stay as they are. ``bench.plain.plain`` replaces line breaks and control characters.
    """
    return _MEANING.sub(_escape, plain(text))


def _escape(match: re.Match[str]) -> str:
    name, found = match.lastgroup, match.group()
    if name == "number":
        return f"{found}\\"
    # An entity and not two backslashes: readers of tables do not agree on a bar behind two backslashes.
    entity = {"backslash": "&#92;", "less": "&lt;", "and": "&amp;"}.get(str(name))
    return entity if entity is not None else f"\\{found}"
