"""The API for the command line and notebooks: run, plan, tables, results, load_model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench import runs as remembered
from bench.compare.sides import former_run
from bench.errors import BenchError, NothingSelectedError, PrerequisiteError, RequestError, did_you_mean
from bench.execute.context import Site
from bench.execute.decoding import decode
from bench.execute.displays import Display, Summary, guarded
from bench.execute.engines import ENGINES, LOCAL, Detached, Engine, Request
from bench.execute.executors import Executor, InProcess
from bench.execute.prerequisites import FILE, Verified, needed, require
from bench.execute.provenance import command
from bench.execute.scheduler import run_plan
from bench.execute.states import Status, job_states
from bench.plan.jobs import Job, Plan
from bench.plan.planner import make_plan
from bench.report.literature import literature_names
from bench.runs import announced
from bench.store import Store
from bench.suite.read import load_suite
from bench.suite.schema import Suite
from bench.suite.settings import Settings, find_profile, find_suite, load_settings

if TYPE_CHECKING:
    import pandas as pd

    from bench.compare.gate import GateResult
    from bench.family import Classifier
    from bench.report.cells import Results
    from bench.report.model import Report

__all__ = [
    "Bench",
    "Run",
    "load_model",
    "plan",
    "results",
    "run",
    "tables",
]


@dataclass(frozen=True)
class Run:
    """The outcome of a run: its plan, how its jobs ended, and the exit code of the command.

    Attributes:
        plan: The requested jobs.
        summary: How they ended.
        report: The tables of the whole suite; None if they could not be made.
        detached: What still holds jobs of the run, if they outlive the command.
    """

    plan: Plan
    summary: Summary
    report: Report | None = None
    detached: Detached | None = None

    def exit_code(self, *, strict: bool = False) -> int:
        """The exit code: 0 if every job has a result; 1 if some failed (with ``strict`` also if some are n/a or
        diverged); 5 if all jobs are n/a; 130 if the run was interrupted.
        """
        if self.summary.interrupted:
            return 130
        counts = self.summary.counts()
        if counts.get("failed"):
            return 1
        if counts and set(counts) == {"n/a"}:
            return PrerequisiteError.exit_code
        if strict and (counts.get("n/a") or counts.get("diverged")):
            return 1
        return 0


@dataclass(frozen=True)
class Bench:
    """The harness: settings, and the store that they name.

    Args:
        settings: Where data, results and weights are.
    """

    settings: Settings

    @classmethod
    def here(cls, start: Path | None = None) -> Bench:
        """The harness with the settings that hold in a folder (default: the working folder)."""
        return cls(load_settings(start))

    @property
    def store(self) -> Store:
        """The store below the results folder.

        Raises:
            PrerequisiteError: The path of a folder is that of a file.
        """
        root = self.settings.results / "store"
        above = next((path for path in (root, *root.parents) if path.exists()), root)
        if above.exists() and not above.is_dir():
            raise PrerequisiteError(f"{above} is a file; results go into the folder {self.settings.results}")
        return Store(root)

    @property
    def verified(self) -> Verified:
        """The files with published checksums that were verified before."""
        return Verified(self.settings.results / FILE)

    def suite(self, name: str | Path | None = None, profile: str | None = None) -> Suite:
        """A suite by path or bare name (default: the settings' default suite), with a profile if one is named."""
        path = find_suite(str(name or self.settings.default_suite), self.settings)
        overlay = find_profile(profile, self.settings) if profile else None
        known = literature_names(self.settings.literature)
        return load_suite(path, overlay, literature=known, find=lambda name: find_suite(name, self.settings))

    def warnings(self, suite: Suite) -> tuple[str, ...]:
        """What a user should know before a suite runs: the warnings of its data, a namesake whose report and place
        among the current results it would take, and that it shows nothing of what it measures.
        """
        found = list(suite.warnings)
        other = remembered.namesake(self.settings.results, suite)
        if other is not None:
            found.append(
                f"another suite was run under the name {suite.name!r}: {other}; a run of this one takes the place of "
                "its report and of its current results (no result is deleted)"
            )
        if not suite.tables and not suite.figures:
            found.append("the suite has no [[table]] and no [[figure]]: no number that it measures is printed")
        return tuple(found)

    def plan(self, suite: str | Path | None = None, *, profile: str | None = None, only: Sequence[str] = ()) -> Plan:
        """The jobs of a suite; ``only`` keeps those whose id matches a glob pattern, and the jobs that they need."""
        resolved = self.suite(suite, profile)
        return make_plan(resolved, self.settings.data, self.settings.weights).select(tuple(only))

    def whole(self, plan: Plan) -> Plan:
        """The plan of all jobs of the suite of ``plan``, which may be a selection."""
        return make_plan(plan.suite, self.settings.data, self.settings.weights)

    def states(self, plan: Plan, *, thorough: bool = False) -> dict[str, Status]:
        """The state of every job of a plan, by key; ``thorough`` hashes every file of every result."""
        return job_states(plan, self.store, thorough=thorough)

    def run(
        self,
        suite: str | Path | None = None,
        *,
        profile: str | None = None,
        only: Sequence[str] = (),
        device: str = "auto",
        workers: int | None = None,
        force: Sequence[str] = (),
        display: Display | None = None,
        in_process: bool = False,
        on: str = "local",
    ) -> Run:
        """Run the jobs that have no result yet. The run may be interrupted at any time; the same call continues it.

        Args:
            suite: Path or bare name; default: the settings' default suite.
            profile: A profile to apply.
            only: Glob patterns of job ids.
            device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
            workers: How many jobs run at once; default: one per GPU, or one per core without a GPU.
            force: Glob patterns of job ids whose results are dropped first, with the results that depend on them.
            display: Shows the run; default: nothing.
            in_process: Run jobs one after the other in this process, to debug them.
            on: Where jobs run: ``"local"``, ``"slurm"``, or an engine of another package.

        Raises:
            bench.errors.BenchError: The request is wrong, or a prerequisite is missing or damaged; then nothing was
                run.
        """
        chosen = self.plan(suite, profile=profile, only=only)
        engine, request = self._engine(on, device, workers)
        devices = engine.slots(request)
        dropped = chosen.downstream(force) if force else []
        if force and not dropped:
            hint = did_you_mean(force[0], [job.id for job in chosen.jobs])
            raise NothingSelectedError(f"--force {force[0]}: no job matches; {hint}")
        site = Site(
            self.store.root.absolute(),
            self.settings.data.absolute(),
            self.settings.weights.absolute(),
            devices[0],
            command(),
        )

        made: list[Executor] = []

        def executor() -> Executor:
            made.append(InProcess(site) if in_process else engine.executor(site, devices, request))
            return made[0]

        def verify(todo: list[Job]) -> None:
            require(needed(todo, site.data, site.weights), self.verified)

        shown = display or Display()

        def prepare(todo: list[Job]) -> None:
            verify(todo)
            if engine is LOCAL and devices[0].startswith("cuda"):
                decode(todo, site.data, guarded(shown).decoding)

        whole = self.whole(chosen) if only else chosen
        with announced(self.settings.results, chosen.keys):
            verify(dropped)  # results that cannot be made again are not dropped
            for job in dropped:
                self._drop(job)
            results, home = self.settings.results, self.settings.home
            remembered.write_last(results, home, whole.suite.path, profile)
            remembered.write_plan(results, home, whole)
            summary = run_plan(chosen, self.store, executor, shown, prepare)
            detached = made[0] if made and isinstance(made[0], Detached) else None
            return Run(chosen, summary, self._remember_tables(whole, profile), detached)

    def slots(self, on: str = "local", device: str = "auto", workers: int | None = None) -> list[str]:
        """The device of each job that an engine runs at once, for arguments as those of ``run``."""
        engine, request = self._engine(on, device, workers)
        return engine.slots(request)

    def _engine(self, on: str, device: str, workers: int | None) -> tuple[Engine, Request]:
        return ENGINES.get(on), Request(device, workers, self.settings.cluster)

    def _drop(self, job: Job) -> None:
        """Delete a result.

        Raises:
            RequestError: Another run is at work on the job.
        """
        folder = self.store.folder(job.key)
        with folder.lock(wait=False) as own:
            if not own:
                raise RequestError(f"--force: {folder.holder()} is at work on {job.id}; end that first")
            folder.forget()

    def report(self, plan: Plan) -> Report:
        """The tables of a plan's suite, from the results in the store."""
        from bench.report.build import build_report

        return build_report(plan, self.store, self.settings.literature)

    @property
    def has_run(self) -> bool:
        """Whether a suite was run in this results folder."""
        return (self.settings.results / remembered.LAST).exists()

    def tables(self, suite: str | Path | None = None, *, profile: str | None = None) -> Report:
        """The tables of a suite; if it can no longer be read, the tables that its last run stored.

        The suite cannot be read if, for example, a plug-in that it names is no longer installed. The stored tables are
        used only if the files of suite and profile have not changed since the run. ``Report.stored`` then gives the
        reason and the time of the tables.

        Args:
            suite: Path or bare name; default: the suite last run.
            profile: The profile that it was run with.

        Raises:
            BenchError: The suite cannot be read, and no run stored its tables.
        """
        if suite is None:
            suite, profile = self.last(profile)
        try:
            return self.report(self.plan(suite, profile=profile))
        except BenchError as error:
            stored = self._stored(suite, profile)
            if stored is None:
                raise
            why = str(error).partition("\n")[0]
            said = f"Printed as the run of {stored.written} left them, for the suite cannot be read now: {why}"
            return replace(stored.report, stored=said)

    def compare(
        self,
        suite: str | Path | None = None,
        *,
        profile: str | None = None,
        baseline: str | None = None,
        against: Path | None = None,
    ) -> Report:
        """The differences of the models of a suite to one of them, or to another run of the suite.

        Args:
            suite: Path or bare name; default: the suite last run.
            profile: The profile that it was run with.
            baseline: Label or name of the model to compare with; default: the first.
            against: Results folder of another run, whose models are the baselines of those with their labels.

        Raises:
            BenchError: The suite cannot be read, a model is unknown, or ``against`` has no run of the suite.
        """
        from bench.compare.build import compare_models, compare_runs

        results = self._results(suite, profile)
        if against is None:
            return compare_models(results, results.plan.suite, baseline)
        _alone(results.plan.suite, "compares runs of")
        return compare_runs(results, results.plan.suite, former_run(against, results.plan.suite))

    def gate(
        self,
        suite: str | Path | None = None,
        *,
        profile: str | None = None,
        against: Path | None = None,
        rules: Sequence[str] = (),
    ) -> GateResult:
        """Check the rules of a gate on a run of a suite; see `bench.compare.gate`.

        Args:
            suite: Path or bare name; default: the suite last run.
            profile: The profile that it was run with.
            against: Results folder of the baseline; default: the one that the suite's ``[gate]`` names.
            rules: Rules such as ``"accuracy >= -0.005"``; default: those of the suite's ``[gate]``.

        Raises:
            RequestError: There is no rule or no baseline, or a rule is wrong.
            NothingSelectedError: Nothing could be compared.
        """
        from bench.compare.gate import check_rules
        from bench.suite.gate import parse_rule

        results = self._results(suite, profile)
        chosen = results.plan.suite
        _alone(chosen, "gates")
        rules, against = rules or chosen.rules, against or chosen.baseline
        if not rules:
            raise RequestError("a gate needs a rule: --rule 'accuracy >= -0.005', or [gate] in the suite")
        if against is None:
            raise RequestError("a gate needs a baseline: --against RESULTS, or 'against' in the suite's [gate]")
        try:
            parsed = [parse_rule(rule) for rule in rules]
        except ValueError as error:
            raise RequestError(str(error)) from None
        return check_rules(results, chosen, former_run(against, chosen), parsed)

    def write_report(
        self, suite: str | Path | None = None, *, profile: str | None = None, out: Path | None = None
    ) -> Path:
        """Write the report of a suite from stored results as one HTML file, and return its path.

        Args:
            suite: Path or bare name; default: the suite last run.
            profile: The profile that it was run with.
            out: The file; default: ``reports/<suite>[-<profile>]/report.html`` in the results folder.
        """
        from bench.report.files import write_report

        if suite is None:
            suite, profile = self.last(profile)
        plan = self.plan(suite, profile=profile)
        return write_report(self, plan, self.report(plan), profile, page=out)[0]

    def publish(self, folder: Path, suite: str | Path | None = None, *, profile: str | None = None) -> Path:
        """Write the results of a suite into a folder to give away, and return the path of its page.

        Args:
            folder: A new or empty folder, or a publication of the suite, which is replaced.
            suite: Path or bare name; default: the suite last run.
            profile: The profile that it was run with.

        Raises:
            RequestError: The folder holds something else.
            NothingSelectedError: No job of the suite has a result.
        """
        from bench.report.publish import publish

        if suite is None:
            suite, profile = self.last(profile)
        return publish(self, self.plan(suite, profile=profile), profile, folder)

    def plot(
        self,
        suite: str | Path | None = None,
        *,
        profile: str | None = None,
        ids: Sequence[str] = (),
        out: Path | None = None,
    ) -> list[str]:
        """Draw the figures of a suite and the charts of its tables, from stored results.

        Args:
            suite: Path or bare name; default: the suite last run.
            profile: The profile that it was run with.
            ids: Only these figures and tables; default: all.
            out: The folder of the files; default: the folder of the report.

        Returns:
            The paths of the files, and a line for each figure that cannot be drawn.

        Raises:
            RequestError: The suite has no figure or table of a name.
            NothingSelectedError: Nothing could be drawn.
        """
        from bench.report.files import plot

        return plot(self, self._results(suite, profile), ids, out)

    def _results(self, suite: str | Path | None, profile: str | None) -> Results:
        from bench.report.cells import Results

        if suite is None:
            suite, profile = self.last(profile)
        plan = self.plan(suite, profile=profile)
        return Results(plan, self.store, self.states(plan))

    def _stored(self, suite: str | Path, profile: str | None) -> remembered.StoredTables | None:
        try:
            path = find_suite(str(suite), self.settings)
            overlay = find_profile(profile, self.settings) if profile else None
            return remembered.tables(self.settings.results, path, overlay)
        except (BenchError, OSError):
            return None  # the caller reports the error of the suite

    def last(self, profile: str | None = None) -> tuple[str, str | None]:
        """Suite file and profile of the last run.

        Args:
            profile: Replaces the profile of that run, if given.

        Raises:
            RequestError: No suite was run yet, or the suite file no longer exists.
            DamagedFileError: ``last.json`` is damaged.
        """
        suite, remembered_profile = remembered.read_last(self.settings.results)
        return suite, profile or remembered_profile

    def results(self, *, everything: bool = False) -> pd.DataFrame:
        """The measured numbers of the store, one row each, with definition and origin.

        A number that several suites refer to has a row for each, with the names that the suite gives. ``profile`` is
        the profile of the suite, ``stale`` marks a number that is no longer current, and the columns ``config.<name>``
        are the hyper-parameters in which the rows differ: after a change of ``lr`` there is ``config.lr``.

        Args:
            everything: Include numbers that no last plan of a suite refers to, such as those with former
                hyper-parameters; their ``suite`` is empty and they are stale.

        Raises:
            DamagedFileError: The plan of a suite cannot be read, so the current numbers are unknown.
        """
        import pandas as pd

        from bench.report.numbers import number_rows

        plans = [(plan.suite, plan.profile, plan.jobs) for plan in remembered.plans(self.settings.results)]
        return pd.DataFrame(number_rows(self.store, plans, everything))

    def load_model(
        self, name: str, *, suite: str | Path | None = None, profile: str | None = None, device: str = "cpu"
    ) -> Classifier:
        """A trained model as a plain module from images in [0, 1] to logits, in eval mode; of a family that does not
        classify, a ``bench.family.Model``.

        Args:
            name: Name of a model in the suite, ``"gmmc-gen"``, or of one seed, ``"gmmc-gen/digits/seed1"``.
            suite: Path or bare name; default: the suite last run.
            profile: The profile that it was run with.
            device: Torch device.

        Raises:
            RequestError: There is no such model, or it is not trained.
        """
        from bench.data.job import job_splits
        from bench.weights.load import load

        path: str | Path
        path, profile = (suite, profile) if suite is not None else self.last(profile)
        chosen = self.plan(path, profile=profile)
        suites = {job.key: part.suite for part in chosen.leaves for job in part.jobs}
        trains = [job for job in chosen.jobs if job.kind == "train"]
        for job in trains:
            if name in (job.model, job.id, job.id.removesuffix("/train")):
                folder = self.store.folder(job.key)
                record = folder.record()
                if record is None or record.diverged:
                    overlay = f" --profile {profile}" if profile else ""
                    raise RequestError(f"{job.id} is not trained; run it: bench run {path}{overlay} --only '{job.id}'")
                shape = job_splits(job.task.train.data, self.settings.data).train.image_shape
                model, _ = load(
                    folder, job.task.train.model, suites[job.key].num_classes, shape, device, with_state=True
                )
                return cast("Classifier", model)
        known = [job.model for job in trains] + [job.id.removesuffix("/train") for job in trains]
        raise RequestError(f"no model {name!r} in suite {chosen.suite.name}; {did_you_mean(name, known)}")

    def _remember_tables(self, plan: Plan, profile: str | None) -> Report | None:
        """Make and store the tables of a run. Errors become a warning, because the jobs have run."""
        report = None
        try:
            report = self.report(plan)
            overlay = find_profile(profile, self.settings) if profile else None
            remembered.write_tables(self.settings.results, report, plan.suite.path, overlay)
        except Exception as error:
            warnings.warn(f"the tables of the run could not be stored: {error}", stacklevel=3)
        return report


def _alone(suite: Suite, what: str) -> None:
    """Raises RequestError if a suite consists of parts."""
    if suite.parts:
        names = ", ".join(part.on or part.name for part in suite.parts)
        raise RequestError(f"{suite.name} has parts ({names}); bench {what} a suite of one data set")


def run(suite: str | Path | None = None, **options: Any) -> Run:
    """Run a suite; see ``Bench.run``."""
    return Bench.here().run(suite, **options)


def plan(suite: str | Path | None = None, **options: Any) -> Plan:
    """The jobs of a suite; see ``Bench.plan``."""
    return Bench.here().plan(suite, **options)


def tables(suite: str | Path | None = None, *, profile: str | None = None) -> Report:
    """The tables of a suite as data; default: the suite last run; see ``Bench.tables``."""
    return Bench.here().tables(suite, profile=profile)


def results(*, everything: bool = False) -> pd.DataFrame:
    """The measured numbers in the store as a data frame; see ``Bench.results``."""
    return Bench.here().results(everything=everything)


def load_model(name: str, **options: Any) -> Classifier:
    """A trained model as a plain module on [0, 1] images; see ``Bench.load_model``."""
    return Bench.here().load_model(name, **options)
