"""Tables of hyper-parameters: what each model is trained with, beside what papers state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.report.model import Cell, Table, TableColumn, TableRow
from bench.report.paper_protocol import shown
from bench.spec import settings
from bench.suite.schema import ResolvedModel, ResolvedTable

__all__ = ["settings_table"]


def settings_table(
    title: str,
    table: ResolvedTable,
    models: Sequence[ResolvedModel],
    quoted: Sequence[TableRow],
    notes: Sequence[str],
) -> Table:
    """A table with the values of hyper-parameters as texts.

    Args:
        title: Its title.
        table: The table; ``settings`` are its columns.
        models: Its rows.
        quoted: Quoted rows, of texts.
        notes: Notes on the quoted rows.
    """
    texts = {setting.key: setting.description for model in models for setting in settings(model.family.config)}
    columns = tuple(
        TableColumn(key, key.replace("_", " ").replace(".", ": "), "", None, "text", texts.get(key, ""), tested=False)
        for key in table.settings
    )
    rows = [
        TableRow(
            model.label,
            model.family.name,
            "measured",
            tuple(_cell(model, key) for key in table.settings),
            group=table.groups.get(model.name, ""),
        )
        for model in models
    ]
    told = [table.note] if table.note else []
    return Table(table.id, title, columns, (*rows, *quoted), (*told, *notes), transposed=table.transposed)


def _cell(model: ResolvedModel, key: str) -> Cell:
    value: Any = model.config
    for part in key.split("."):
        value = getattr(value, part, None)
    if value is None:
        return Cell(column=key, status="n/a", reason=f"{model.family.name} has no {key}", text="-")
    return Cell(column=key, status="ok", text=shown(value))
