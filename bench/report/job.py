"""The result of one job as text for a person: state, numbers with definitions, history, traceback and log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, DamagedFileError, RequestError, did_you_mean
from bench.execute.states import Status
from bench.plan.jobs import Plan
from bench.report.numbers import flat
from bench.store import JobFolder, PlannedJob, Record

if TYPE_CHECKING:
    from bench.api import Bench

__all__ = ["FoundJob", "find_job", "job_text"]

KEY_LETTERS = 6
"""The fewest letters of a key by which a job can be named."""
_NO_RESULT = ("failed", "diverged", "n/a")


@dataclass(frozen=True)
class FoundJob:
    """A job and its state.

    Attributes:
        id: Its name.
        folder: The folder of its result, which need not exist.
        status: State and reason.
        because: Ids of the jobs whose missing result is the reason.
        planned: The job as its ``job.json`` describes it.
    """

    id: str
    folder: JobFolder
    status: Status
    because: tuple[str, ...] = ()
    planned: PlannedJob = field(default_factory=PlannedJob)


def find_job(bench: Bench, name: str, suite: str | None, profile: str | None) -> FoundJob:
    """A job by its id in a suite, or by the beginning of its key.

    Args:
        bench: The project.
        name: The id, or at least ``KEY_LETTERS`` letters of the key.
        suite: The suite; None: the one last run.
        profile: The profile of the suite, if any.

    Raises:
        RequestError: If there is no such job.
    """
    folders = list(map(bench.store.folder, bench.store.job_keys(name))) if len(name) >= KEY_LETTERS else []
    if suite is None:
        try:
            suite, profile = bench.last(profile)
        except BenchError:
            if len(folders) != 1:
                raise
    plan = bench.plan(suite, profile=profile) if suite is not None else None
    key = folders[0].key if len(folders) == 1 else None
    job = None if plan is None else next((job for job in plan.jobs if job.id == name or job.key == key), None)
    if plan is not None and job is not None:
        states = bench.states(plan)
        because = _culprits(plan, states, job.key)
        what = PlannedJob.from_json(job.as_json())
        return FoundJob(job.id, bench.store.folder(job.key), states[job.key], because, what)
    if key is not None:
        # No known suite has the job: id and state come from its files.
        planned = folders[0].job() or PlannedJob()
        return FoundJob(planned.id or name, folders[0], Status(folders[0].state()), planned=planned)
    assert plan is not None
    hint = did_you_mean(name, [job.id for job in plan.jobs])
    raise RequestError(f"suite {plan.suite.name} has no job {name!r}; {hint}")


def _culprits(plan: Plan, states: Mapping[str, Status], key: str) -> tuple[str, ...]:
    """Ids of the jobs that cause a missing result: inputs without a result whose own inputs all have one."""

    def without(at: str) -> list[str]:
        """Keys of the inputs of a job that have no result."""
        return [above for above in plan.job(at).inputs if above in states and states[above].state in _NO_RESULT]

    found: dict[str, None] = {}
    left = without(key) if states[key].state in _NO_RESULT else []
    while left:
        at = left.pop(0)
        above = without(at)
        left += above
        if not above:
            found[plan.job(at).id] = None
    return tuple(found)


def job_text(job: FoundJob) -> str:
    """The text that ``bench show`` prints of a job."""
    status, folder = job.status, job.folder
    lines = [f"{job.id}: {status.state}{f' ({status.reason})' if status.reason else ''}"]
    lines += [f"because of {name}; bench show {name}" for name in job.because]
    lines.append(f"folder: {folder.path}")
    record, error = folder.record(), folder.error()
    lines += _planned(job.planned)
    if record is not None:
        try:
            lines += _record(record, folder)
        except DamagedFileError as problem:
            lines.append(f"damaged: {problem}")
    traceback = ""
    if error is not None:
        traceback = str(error.get("traceback", "")).strip()
        lines += [f"error: {error['type']}: {error['message']}", *([traceback] if traceback else [])]
    # The worker writes its traceback into the log, too, in case it can write no error file.
    log = (folder.log().replace(traceback, "") if traceback else folder.log()).strip()
    if log:
        lines += ["log:", log]
    return "\n".join(lines)


def _planned(job: PlannedJob) -> list[str]:
    """Lines on model, data and seed, with the hyper-parameters of a training or the settings of an evaluation."""
    lines = [f"{name}: {value}" for name, value in (("family", job.family), ("backbone", job.backbone)) if value]
    if job.dataset:
        lines.append(f"data set: {job.dataset}, data seed {job.data_seed}")
    if job.seed is not None:
        lines.append(f"seed: {job.seed}")
    # Jobs that read a trained model also hold its hyper-parameters; only the training shows them.
    title, config = ("hyper-parameters", job.config) if job.train is None else ("settings", job.settings)
    lines += [f"{title}:", *(f"  {name} = {_setting(value)}" for name, value in flat(config))] if config else []
    return lines


def _setting(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _record(record: Record, folder: JobFolder) -> list[str]:
    training = record.training
    facts = {
        "status": record.status,
        "reason": record.reason,
        "finished": record.finished,
        "seconds": record.seconds,
        "passes": record.passes,
        "epochs": training.epochs,
        "selected epoch": training.selected_epoch,
        "validation accuracy": training.validation_accuracy,
        "restarts": training.restarts,
        "precision": training.precision,
        "weights": record.weights,
    }
    lines = [f"{name}: {value}" for name, value in facts.items() if value is not None]
    for number in record.measured.numbers:
        argument = f"@{number.argument}" if number.argument else ""
        value = number.value if number.value is not None else f"n/a ({number.reason})"
        interval = number.interval
        shown = f" [{interval.low:.4g}, {interval.high:.4g}] {interval.kind}" if interval else ""
        lines.append(f"{number.metric}{argument} = {value}{shown}, n = {number.n}")
        lines.append(f"    {number.definition}")
        if number.verdict:
            lines.append(f"    {number.verdict}: {'; '.join(map(str, number.flags.values())) or 'no flag'}")
    if training.history:
        epochs = folder.history()
        lines += ["history:", *("  " + ", ".join(f"{k} {_short(v)}" for k, v in epoch.items()) for epoch in epochs)]
    return [*lines, "provenance:", *_provenance(record.provenance.as_json())]


def _provenance(facts: Mapping[str, Any]) -> Iterator[str]:
    """A line for each fact; facts of one kind, such as versions, share one."""
    for name, value in sorted((name, value) for name, value in facts.items() if value or value is False):
        parts = (f"{key} {part}" for key, part in sorted(value.items())) if isinstance(value, dict) else [str(value)]
        yield f"  {name.replace('_', ' ')}: {', '.join(parts)}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
