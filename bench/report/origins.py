"""Notes on the libraries and machines behind the numbers of a table, where its rows differ in them.

Versions of libraries are in records but not in keys. One table can therefore hold numbers of two versions of a library
that rounds, draws or decodes differently.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.plan.jobs import Job, Plan
from bench.report.model import Cell
from bench.store import Provenance, Store
from bench.suite.schema import ResolvedModel

__all__ = ["Origins", "origins"]

_STAGES = {"train": "training", "predict": "prediction", "evaluate": "evaluation"}
_OF_NETWORKS = ("torch", "torchvision", "torchattacks", "foolbox")
"""Packages that a job that runs no network does not use."""

_Found = dict[str, dict[str, dict[str, None]]]
"""By fact and value, the ordered set of a row's stages with it: ``found["torch"]["2.14.1"]`` has ``"training"``."""


@dataclass(frozen=True)
class Origins:
    """The libraries and machines in which the rows of a table differ.

    Attributes:
        notes: Notes below the table; empty if there is no difference.
        rows: By name of the model, its own values: ``"torch 2.13.0 (training), 2.14.1 (…)"``.
    """

    notes: tuple[str, ...] = ()
    rows: Mapping[str, str] = field(default_factory=dict)


def origins(models: Sequence[ResolvedModel], cells: Sequence[Sequence[Cell]], plan: Plan, store: Store) -> Origins:
    """The versions of libraries, devices, CPU capabilities and numbers of threads that are not the same everywhere.

    All records behind a number of the table are compared: evaluations, the predictions that they read, and the training
    of the model, of the judge and of other models that an attack needed.

    Args:
        models: The measured rows.
        cells: The cells by row and column.
        plan: The jobs.
        store: The store with their records.
    """
    found = {model.name: _of_row(model, row, plan, store) for model, row in zip(models, cells, strict=True)}
    names = dict.fromkeys(name for row in found.values() for name in row)
    differing = [name for name in names if len({value for row in found.values() for value in row.get(name, ())}) > 1]
    labels = {model.name: model.label for model in models}
    notes = tuple(
        _note(name, {labels[model]: row[name] for model, row in found.items() if name in row}) for name in differing
    )
    rows = {
        model: "; ".join(f"{name} {_values(row[name])}" for name in differing if name in row)
        for model, row in found.items()
    }
    return Origins(notes, rows)


def _of_row(model: ResolvedModel, cells: Sequence[Cell], plan: Plan, store: Store) -> _Found:
    found: _Found = {}
    known: set[tuple[str, tuple[tuple[str, str], ...]]] = set()  # most records of a row were made in the same way
    left = deque(key for cell in cells for key in cell.records)
    seen: set[str] = set()
    while left:
        key = left.popleft()
        job = None if key in seen else plan.find(key)
        if job is None:
            continue
        seen.add(key)
        left.extend(job.inputs)
        record = store.folder(key).record()
        stage = _stage(job, model)
        facts = tuple(_facts(record.provenance)) if record is not None else ()
        if (stage, facts) in known:
            continue
        known.add((stage, facts))
        for name, value in facts:
            found.setdefault(name, {}).setdefault(value, {})[stage] = None
    return found


def _stage(job: Job, model: ResolvedModel) -> str:
    other = "" if job.model == model.name else f" of {job.model or 'the judge'}"
    return f"{_STAGES[job.kind]}{other}"


def _facts(made: Provenance) -> Iterator[tuple[str, str]]:
    """The facts of a record's provenance that can change a number, as (name, value)."""
    for package, version in made.versions.items():
        if made.device != "none" or package not in _OF_NETWORKS:
            yield package, version
    if made.device == "none":
        return
    yield "device", made.device_name or made.device.partition(":")[0]
    facts = {"cuda": made.cuda, "cudnn": made.cudnn}
    if made.device == "cpu":
        facts |= {"CPU capability": made.cpu_capability, "threads": made.threads}
        facts |= {"architecture": made.machine.get("machine")}
    yield from ((name, str(value)) for name, value in facts.items() if value is not None)


def _note(name: str, rows: Mapping[str, Mapping[str, Mapping[str, None]]]) -> str:
    """The note on one fact: torch is not the same for all numbers: 2.13.0 (JEM), 2.14.1 (softmax: evaluation)."""
    values = sorted({value for row in rows.values() for value in row})
    parts = []
    for value in values:
        # A row with this value alone is named; a row with several values is named with its stages.
        whole = [label for label, row in rows.items() if list(row) == [value]]
        stages: dict[str, list[str]] = {}
        for label, row in rows.items():
            if value in row and len(row) > 1:
                stages.setdefault(", ".join(row[value]), []).append(label)
        shared = [
            f"{'all rows' if len(labels) == len(rows) > 1 else ', '.join(labels)}: {text}"
            for text, labels in stages.items()
        ]
        parts.append(f"{value} ({'; '.join([*([', '.join(whole)] if whole else []), *shared])})")
    return f"{name} is not the same for all numbers: {', '.join(parts)}."


def _values(values: Mapping[str, Mapping[str, None]]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return ", ".join(f"{value} ({', '.join(stages)})" for value, stages in sorted(values.items()))
