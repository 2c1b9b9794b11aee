"""The two sides of a comparison: what a run stored of a model, for the current plan or for a former run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import runs
from bench.errors import RequestError, did_you_mean
from bench.execute.states import Status
from bench.report.cells import Results
from bench.report.stored import EvaluateJob, Stored
from bench.store import Store
from bench.suite.schema import ResolvedColumn, ResolvedModel, Suite

__all__ = ["FormerRun", "Side", "damage_of", "former_run", "sides_of"]


@dataclass(frozen=True)
class Side:
    """One model of one run.

    Attributes:
        stored: What the run stored.
        model: The model, with the name that the run gives it.
    """

    stored: Stored
    model: ResolvedModel


@dataclass(frozen=True)
class FormerJob:
    """An evaluate job of a former run, of which only its names and its key are known."""

    id: str
    key: str
    seed: int
    argument: str


@dataclass(frozen=True)
class FormerRun:
    """The last run of a suite in a results folder.

    Attributes:
        folder: The results folder.
        labels: Label of each model by its name; empty if the run was made before labels were stored.
        stored: What it stored.
        names: Names of its models.
    """

    folder: Path
    labels: Mapping[str, str]
    stored: Stored
    names: frozenset[str]

    def side(self, model: ResolvedModel) -> Side | None:
        """The model of the same label, or of the same name if labels are not known; None if the run has none."""
        by_label = {label: name for name, label in self.labels.items()}
        name = by_label.get(model.label) if self.labels else model.name
        return Side(self.stored, replace(model, name=name)) if name in self.names else None


def damage_of(side: Side, column: ResolvedColumn) -> str | None:
    """Which result behind a number of a side is damaged, and how; None if none is."""
    for job in side.stored.plan.evaluations(side.model.name, column.evaluation.id):
        status = side.stored.states[job.key]
        if job.argument in ("", column.column.argument) and status.state == "damaged":
            return f"{job.id} is damaged: {status.reason}"
    return None


def sides_of(results: Results, suite: Suite) -> dict[str, Side]:
    """By name, the models of a suite in its current plan."""
    return {model.name: Side(results, model) for model in suite.models}


def former_run(folder: Path, suite: Suite) -> FormerRun:
    """The last run of a suite, with the same profile, in another results folder.

    Raises:
        RequestError: The folder is no results folder, or the suite was not run in it.
        DamagedFileError: The plan of a run in it cannot be read.
    """
    if not (folder / runs.RUNS).is_dir():
        raise RequestError(f"{folder} is no results folder: nothing was run in it (it has no folder {runs.RUNS!r})")
    known = {run_name(plan.suite, plan.profile): plan for plan in runs.plans(folder)}
    wanted = run_name(suite.name, suite.profile)
    if wanted not in known:
        hint = did_you_mean(wanted, known) or "no run of any suite can be read in it"
        raise RequestError(f"{folder} has no run of {wanted}; {hint}")
    plan = known[wanted]
    jobs: dict[tuple[str, str], list[EvaluateJob]] = {}
    for key, names in plan.jobs.items():
        if names.evaluation:
            job = FormerJob(names.job, key, names.seed, names.argument)
            jobs.setdefault((names.model, names.evaluation), []).append(job)
    store = Store(folder / "store")
    states = {key: _status(store, key) for key in plan.jobs}
    stored = Stored(_Evaluations(jobs), store, states)
    return FormerRun(folder, plan.labels, stored, frozenset(names.model for names in plan.jobs.values()))


def run_name(suite: str, profile: str | None) -> str:
    """``<suite>``, or ``<suite> with profile <profile>``."""
    return f"{suite} with profile {profile}" if profile else suite


@dataclass(frozen=True)
class _Evaluations:
    jobs: Mapping[tuple[str, str], Sequence[EvaluateJob]]

    def evaluations(self, model: str, evaluation: str) -> Sequence[EvaluateJob]:
        return self.jobs.get((model, evaluation), ())


def _status(store: Store, key: str) -> Status:
    """The state of a result without its plan: an input that changed since does not make it stale."""
    folder = store.folder(key)
    damage = folder.damage()
    if damage is not None:
        return Status("damaged", damage)
    record = folder.record()
    if record is None:
        return Status("pending")
    return Status("diverged", record.reason or "training diverged") if record.diverged else Status("done")
