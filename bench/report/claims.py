"""Notes on what the numbers of a table can claim: on seeds, on numbers of items, and on controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.metrics.paired import smallest_sign_flip_p
from bench.report.bold import ENOUGH_SEEDS
from bench.report.cells import Results
from bench.report.model import Cell
from bench.report.text import calibrated_text, cell_text, interval_text, row_names
from bench.suite.schema import ResolvedColumn, ResolvedModel

__all__ = ["calibration_notes", "control_notes", "item_notes", "reason_notes", "seed_note"]


def seed_note(labels: Sequence[str], cells: Sequence[Sequence[Cell]]) -> str | None:
    """The note on what the intervals are over and what the number of seeds cannot show; None without any number.

    Args:
        labels: Labels of the rows.
        cells: The cells by row and column.
    """
    filled = [cell for row in cells for cell in row if cell.value is not None]
    counts = sorted({len(cell.seeds) for cell in filled})
    if not counts:
        return None
    if counts == [1]:
        return "One run each: intervals are over test items; differences between runs are not covered."
    rows: dict[tuple[int, ...], list[str]] = {}
    for label, row in zip(labels, cells, strict=True):
        seeds = tuple(sorted({seed for cell in row if cell.value is not None for seed in cell.seeds}))
        if seeds:
            rows.setdefault(seeds, []).append(label)
    texts = {seeds: ", ".join(map(str, seeds)) for seeds in rows}
    over = "; ".join(text if len(rows) == 1 else f"{text} ({', '.join(rows[seeds])})" for seeds, text in texts.items())
    parts = [f"Mean over seeds {over}, 95% t intervals over seeds, cut to the range of the number."]
    fewest = min(count for count in counts if count > 1)
    if fewest == 2:
        parts.append("An interval over two seeds has one degree of freedom: two runs do not show how runs vary.")
    if fewest < ENOUGH_SEEDS:
        smallest = smallest_sign_flip_p(fewest)
        bold = "; bold is about these weights" if any(cell.best for cell in filled) else ""
        parts.append(
            f"No paired test over {fewest} seeds can tell families apart at 5% (smallest p = {smallest:.3g}){bold}."
        )
    if counts[0] == 1:
        parts.append("Cells of one seed have intervals over test items.")
    return " ".join(parts)


def item_notes(columns: Sequence[ResolvedColumn], cells: Sequence[Sequence[Cell]]) -> list[str]:
    """Notes on numbers over different items, within a column and between columns of shares.

    Args:
        columns: The columns of the table.
        cells: The cells by row and column.
    """
    notes, unlike = [], []
    alike: dict[int, list[ResolvedColumn]] = {}
    for index, column in enumerate(columns):
        filled = [row[index] for row in cells if row[index].value is not None and row[index].n is not None]
        counts = sorted({int(n) for cell in filled for n in (cell.n, cell.n_most) if n is not None})
        if len(counts) == 1:
            alike.setdefault(counts[0], []).append(column)
        elif counts:
            shared = {cell.n_common for cell in filled if cell.n_common is not None}
            tested = f", bold compares the {shared.pop():,} that all share" if len(shared) == 1 else ""
            unlike.append(f"{column.id} (n = {counts[0]:,} to {counts[-1]:,}{tested})")
    if unlike:
        notes.append(f"Rows are over different items in {'; '.join(unlike)}.")
    # Shares are over one list of test items, of which some evaluations take only the first.
    shares = {n: [c for c in group if c.column.unit == "fraction"] for n, group in alike.items()}
    shares = {n: group for n, group in shares.items() if group}
    if len(shares) > 1:
        each = "; ".join(
            f"n = {n:,}: {', '.join(column.id for column in group)}"
            for n, group in sorted(shares.items(), reverse=True)
        )
        notes.append(f"Columns of different n are over different items and do not compare along a row: {each}.")
    return notes


def control_notes(columns: Sequence[ResolvedColumn], models: Sequence[ResolvedModel], results: Results) -> list[str]:
    """Notes with the controls of each column, such as the score of real images; without those that are columns.

    Args:
        columns: The columns of the table.
        models: Its measured rows.
        results: The results in the store.
    """
    present = {(c.evaluation.id, c.column.metric, c.column.argument) for c in columns}
    notes = []
    for column in columns:
        texts = []
        for control in column.evaluation.columns:
            if control.metric != column.column.metric or control.argument not in column.column.controls:
                continue
            if (column.evaluation.id, control.metric, control.argument) in present:
                continue
            own = replace(column, column=control)
            cells = {model.label: results.cell(model, own) for model in models}
            found: dict[str, list[str]] = {}
            for label, cell in cells.items():
                if cell.value is not None:
                    shown = f"{cell_text(cell, control.unit)} {interval_text(cell, control.unit)}".strip()
                    found.setdefault(shown, []).append(label)
            if found:
                rows = [text if len(found) == 1 else f"{text} ({', '.join(who)})" for text, who in found.items()]
                texts.append(f"{control.label} {'; '.join(rows)}")
        if texts:
            notes.append(f"For scale: {', '.join(texts)}.")
    return notes


def reason_notes(labels: Sequence[str], cells: Sequence[Sequence[Cell]]) -> list[str]:
    """Notes with the reasons of missing numbers and the remarks on others, each once with its columns and rows.

    Columns are left out of a note on all numbers of its rows, on all missing ones of rows that have none, and on jobs
    to come; and a row that the reason names is not named again: ``n/a in is, fcd: softmax does not generate.``

    Args:
        labels: Labels of the rows.
        cells: The cells by row and column.
    """
    reasons: dict[tuple[str, str], dict[str, list[str]]] = {}
    for label, row in zip(labels, cells, strict=True):
        for cell in row:
            if cell.status != "ok" or cell.reason:
                reason = (cell.reason or "").removesuffix(".")
                reasons.setdefault((cell.status, reason), {}).setdefault(label, []).append(cell.column)
    of_rows = {
        label: {ok: [cell.column for cell in row if (cell.value is not None) is ok] for ok in (True, False)}
        for label, row in zip(labels, cells, strict=True)
    }
    # A model that diverged lacks also what it would never have had.
    able = {
        label: [cell.column for cell in row if cell.status != "n/a"] for label, row in zip(labels, cells, strict=True)
    }
    notes = []
    for (status, reason), columns in reasons.items():
        ok = status == "ok"
        whole = status == "pending" or all(
            own in (of_rows[label][ok], able[label]) and (ok or not of_rows[label][True])
            for label, own in columns.items()
        )
        groups: dict[str, list[str]] = {}
        for label, names in columns.items():
            groups.setdefault("" if whole else ", ".join(names), []).append(label)
        where = []
        for place, rows in groups.items():
            named = (
                not ok
                and len(groups) == len(rows) == 1
                and reason.startswith((f"{rows[0]} does not ", f"{rows[0]} has no "))
            )
            parts = [place, "" if named else f"({row_names(rows, len(labels))})"]
            where.append(" ".join(part for part in parts if part))
        places = "; ".join(where)
        if ok:
            notes.append(f"{reason} {places}." if whole else f"{reason}: {places}.")
        else:
            begun = (f"{status} {places}" if whole else f"{status} in {places}").strip()
            notes.append(f"{begun}: {reason}." if reason else f"{begun}.")
    return notes


def calibration_notes(
    columns: Sequence[ResolvedColumn], models: Sequence[ResolvedModel], cells: Sequence[Sequence[Cell]]
) -> list[str]:
    """The note with what calibrated models would score in the columns of calibration errors; empty without any.

    Args:
        columns: The columns of the table.
        models: Its measured rows.
        cells: The cells by row and column.
    """
    parts = []
    for index, column in enumerate(columns):
        shown = [
            f"{m.label} {calibrated_text(row[index])}"
            for m, row in zip(models, cells, strict=True)
            if row[index].if_calibrated
        ]
        if shown:
            parts.append(f"{column.id}: {', '.join(shown)}")
    if not parts:
        return []
    facts = [cell.if_calibrated for row in cells for cell in row if cell.if_calibrated]
    with_p = any(fact.p_value is not None for fact in facts)
    said = "; p is the probability that it has the printed error or a larger one" if with_p else ""
    said += ". Means over seeds have no p" if with_p and any(fact.p_value is None for fact in facts) else ""
    note = (
        "Calibration errors are biased upwards. A calibrated model with the same confidences and as many items would "
        f"have, on average, the percentage behind “calibrated”{said}. {'; '.join(parts)}."
    )
    return [note]
