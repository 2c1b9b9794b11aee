"""What differs between two runs besides their numbers: data, configuration, code and versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.compare.sides import Side
from bench.report.numbers import flat
from bench.report.stored import EvaluateJob
from bench.report.text import row_names
from bench.store import PlannedJob, Store
from bench.suite.schema import ResolvedModel, Suite

__all__ = ["changes", "same_data"]

_ABSENT = "not set"


def same_data(mine: Side, other: Side, suite: Suite) -> bool:
    """Whether both sides were measured on one data set with one data seed, so that equal ids name equal items.

    False if that cannot be known.
    """
    facts = [_data(side, suite) for side in (mine, other)]
    return facts[0] is not None and facts[0] == facts[1]


def _data(side: Side, suite: Suite) -> tuple[Any, ...] | None:
    for job in _jobs(side, suite):
        planned = side.stored.store.folder(job.key).job()
        if planned is not None:
            identities = (planned.spec.get("fingerprints") or {}).get("data") or {}
            return planned.dataset, planned.data_seed, tuple(sorted(identities.items()))
    return None


def _jobs(side: Side, suite: Suite) -> Iterator[EvaluateJob]:
    for evaluation in suite.evaluations:
        yield from side.stored.plan.evaluations(side.model.name, evaluation.id)


def changes(pairs: Sequence[tuple[ResolvedModel, Side, Side, bool]], suite: Suite) -> list[str]:
    """Notes on what differs between the two runs of each model, each once with the labels of its models.

    Hyper-parameters, parameters of evaluations, data, code, and the versions of libraries and machines are compared, as
    ``job.json`` and the records have them. Models with the same weights on both sides are named, too.

    Args:
        pairs: The models, each with its side and the baseline.
        suite: The suite.
    """
    found: dict[str, list[str]] = {}
    for model, mine, other, _ in pairs:
        facts, former = dict(_facts(mine, suite)), dict(_facts(other, suite))
        for name in dict.fromkeys([*former, *facts]):
            before, now = former.get(name, _ABSENT), facts.get(name, _ABSENT)
            if before != now and (name in former) + (name in facts) > 0 and former and facts:
                found.setdefault(f"{name}: {before} → {now}", []).append(model.label)
        same = _weights(mine, suite)
        if same and same == _weights(other, suite):
            found.setdefault("weights are the same", []).append(model.label)
    return [f"{text} ({row_names(labels, len(pairs))})" for text, labels in found.items()]


def _facts(side: Side, suite: Suite) -> Iterator[tuple[str, str]]:
    """The facts behind the numbers of a side, as (name, value)."""
    store = side.stored.store
    versions: dict[str, set[str]] = {}
    for job in _jobs(side, suite):
        folder = store.folder(job.key)
        planned, record = folder.job(), folder.record()
        if planned is None or record is None:
            continue
        evaluation = planned.spec.get("evaluation", "")
        for name, value in flat(planned.settings):
            yield f"{evaluation}.{name}", _shown(value)
        yield from _of_model(planned)
        made = record.provenance
        facts = {**made.versions, "device": made.device_name or made.device.partition(":")[0]}
        commit = (made.harness or {}).get("commit")
        for name, value in {**facts, **({"commit": str(commit)} if commit else {})}.items():
            if value != "none":
                versions.setdefault(name, set()).add(value)
    for name, values in versions.items():
        yield name, " and ".join(sorted(values))


def _of_model(planned: PlannedJob) -> Iterator[tuple[str, str]]:
    for name, value in flat(planned.config):
        yield name, _shown(value)
    for name, value in flat(_mapping(planned.spec.get("data"))):
        yield f"data.{name}", _shown(value)
    yield "backbone", str(planned.backbone)
    fingerprints = _mapping(planned.spec.get("fingerprints"))
    for name, value in _mapping(fingerprints.get("data")).items():
        yield f"data {name}", str(value)[:19]
    for name, value in _mapping(fingerprints.get("code")).items():
        shown = _mapping(value)
        yield f"code of {name} {shown.get('name', '')}", _shown(shown.get("version") or shown.get("source"))


def _weights(side: Side, suite: Suite) -> set[tuple[int, str]]:
    """Training seed and digest of the weights behind the numbers of a side."""
    store: Store = side.stored.store
    found = set()
    for job in _jobs(side, suite):
        record = store.folder(job.key).record()
        if record is not None and record.weights is not None:
            found.add((job.seed, record.weights))
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
