"""All measured numbers of a store as rows of plain values, from which ``bench.results()`` makes a data frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.store import JobFolder, Number, PlannedJob, Record, Store

__all__ = ["PREFIX", "Names", "number_rows"]

PREFIX = "config."
"""The prefix of hyper-parameters' names, which keeps them apart from other columns (``seed``, ``n``)."""


@dataclass(frozen=True)
class Names:
    """The names that a plan gives a job: its id, its model with the seed, its evaluation with the argument."""

    job: str
    model: str
    seed: int
    evaluation: str
    argument: str


def number_rows(
    store: Store, plans: Sequence[tuple[str, str | None, Mapping[str, Names]]], everything: bool
) -> list[dict[str, Any]]:
    """A row for each number and each suite whose last plan refers to it.

    Args:
        store: The records.
        plans: The last plan of each suite, as (suite, profile, its jobs by key). If empty, the store is older than
            stored plans, and every number counts.
        everything: Whether to include the numbers that no plan refers to.

    Returns:
        Rows with the same names. ``suite`` is empty if no plan refers to the number; ``profile`` is also empty if the
        suite was run without one. ``stale`` says that the number does not count any more: no plan refers to it, or the
        store now holds other weights than those that it was made with. ``config.<name>`` are the hyper-parameters in
        which the rows differ, None if a family has none of that name.
    """
    rows: list[dict[str, Any]] = []
    configurations: list[dict[str, Any]] = []
    for folder in store.folders():
        referred = [(suite, profile or "", jobs[folder.key]) for suite, profile, jobs in plans if folder.key in jobs]
        if not referred and plans and not everything:
            continue
        record = folder.record()
        if record is None or not record.measured.numbers:
            continue
        planned = folder.job() or PlannedJob()
        configuration = dict(flat(planned.config))
        outdated = _outdated(record, planned.train, store)
        own = Names(record.job, record.model, record.seed, record.evaluation, record.argument)
        for suite, profile, names in referred or [("", "", own)]:
            for number in record.measured.numbers:
                stale = outdated or (bool(plans) and not suite)
                rows.append({"suite": suite, "profile": profile, **_row(record, names, number), "stale": stale})
                configurations.append(configuration)
    differing = sorted({name for facts in configurations for name in facts if _differs(name, configurations)})
    return [
        {**row, **{f"{PREFIX}{name}": facts.get(name) for name in differing}}
        for row, facts in zip(rows, configurations, strict=True)
    ]


def _row(record: Record, names: Names, number: Number) -> dict[str, Any]:
    interval = number.interval
    return {
        "job": names.job,
        "model": names.model,
        "family": record.family,
        "backbone": record.backbone,
        "dataset": record.dataset,
        "seed": names.seed,
        "evaluation": names.evaluation,
        "metric": number.metric,
        "argument": number.argument,
        "value": number.value,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "interval": interval.kind if interval else None,
        "n": number.n,
        "verdict": number.verdict,
        "reason": number.reason,
        "definition": number.definition,
        "weights": record.weights,
        "finished": record.finished,
        "key": record.key,
    }


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A nested configuration as (dotted name, value); lists become tuples, which can be compared and grouped by."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", tuple(value) if isinstance(value, list) else value


def _differs(name: str, configurations: Iterable[Mapping[str, Any]]) -> bool:
    return len({repr(facts.get(name)) for facts in configurations}) > 1


def _outdated(record: Record, train: str | None, store: Store) -> bool:
    """Whether the store now holds other weights than those that a number was made with."""
    made_with: dict[str, str | None] = dict(record.measured.read)
    if train is not None:
        made_with.setdefault(train, record.weights)
    for key, digest in made_with.items():
        now = _weights(store.folder(key))
        if digest is not None and now is not None and now != digest:
            return True
    return False


def _weights(folder: JobFolder) -> str | None:
    record = folder.record()
    return None if record is None else record.weights
