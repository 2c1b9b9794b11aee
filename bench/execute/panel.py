"""The live panel of a run, drawn by rich. It fits every width; the time left is the last fact that it drops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.plain import plain

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

__all__ = ["Panel", "PanelRow", "head_facts"]

_GAP = 2
_LEAST_NAME, _MOST_NAME = 10, 34
_LEAST_BAR, _MOST_BAR = 8, 24


@dataclass(frozen=True)
class PanelRow:
    """A line of the panel.

    Attributes:
        name: Name of the run or the job.
        facts: Texts on its progress, from the longest to the shortest; the first that fits is shown.
        done, total: Progress for the bar; there is no bar without a total.
    """

    name: str
    facts: Sequence[str]
    done: float = 0
    total: float = 0


def head_facts(done: int, total: int, elapsed: str, left: str | None) -> list[str]:
    """Texts on the progress of a run, from the longest to the shortest; each has the time left, if it is known."""
    if left is None:
        return [f"{done}/{total} jobs, {elapsed}", f"{done}/{total} jobs", f"{done}/{total}"]
    return [
        f"{done}/{total} jobs, {elapsed}, about {left} left",
        f"{done}/{total} jobs, about {left} left",
        f"{done}/{total}, {left} left",
        f"{left} left",
    ]


class Panel:
    """The head line and a line for each running job."""

    def __init__(self, head: PanelRow, jobs: Sequence[PanelRow]) -> None:
        self._rows = [head, *jobs]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from rich.cells import cell_len
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        names = [plain(row.name) for row in self._rows]
        room = max(options.max_width - _LEAST_NAME - _GAP, 1)
        facts = [next((text for text in row.facts if cell_len(text) <= room), row.facts[-1]) for row in self._rows]
        left = options.max_width - max(map(cell_len, facts)) - _GAP
        longest = min(max(map(cell_len, names)), _MOST_NAME)
        bar = min(left - longest - _GAP, _MOST_BAR)
        bar = bar if bar >= _LEAST_BAR and any(row.total for row in self._rows) else 0
        width = max(min(max(map(cell_len, names)), left - (bar + _GAP if bar else 0)), 1)
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        grid.add_column(width=width, no_wrap=True)
        if bar:
            grid.add_column(width=bar)
        grid.add_column(no_wrap=True)
        for number, (row, name, fact) in enumerate(zip(self._rows, names, facts, strict=True)):
            cells: list[Any] = [Text(_cropped(name, width), style="" if number else "bold")]
            if bar:
                cells.append(ProgressBar(total=row.total, completed=row.done, width=bar) if row.total else "")
            grid.add_row(*cells, Text(fact))
        yield grid


def _cropped(text: str, width: int) -> str:
    """Crop a text to a width in terminal cells; its middle goes, because the ends of a name tell more."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    if width < 4:
        return set_cell_size(text, width)
    end = (width - 1) // 2
    tail = text[-end:]
    while cell_len(tail) > end:
        tail = tail[1:]
    return f"{set_cell_size(text, width - 1 - cell_len(tail)).rstrip()}…{tail}"
