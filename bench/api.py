"""What the command line calls and what a notebook imports: run, plan, tables, results, load_model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import NothingSelectedError, PrerequisiteError, RequestError, did_you_mean
from bench.execute.devices import slots
from bench.execute.executors import Executor, InProcess, Pool
from bench.execute.provenance import command
from bench.execute.running import announced
from bench.execute.scheduler import Display, Summary, run_plan
from bench.execute.states import Status, job_states
from bench.execute.worker import Site
from bench.jobs import Job, Plan
from bench.planner import make_plan
from bench.prerequisites import FILE, Verified, needed, require
from bench.report.literature import literature_names
from bench.store import Store, write_json
from bench.suite.read import load_suite
from bench.suite.schema import Suite
from bench.suite.settings import Settings, find_profile, find_suite, load_settings

if TYPE_CHECKING:
    import pandas as pd

    from bench.family import Classifier
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

LAST = "last.json"


@dataclass(frozen=True)
class Run:
    """What a run did: its plan, how it ended, and the exit code that the command gives for it."""

    plan: Plan
    summary: Summary

    def exit_code(self, *, strict: bool = False) -> int:
        """0 every job has a result; 1 some failed (``strict``: or are n/a or diverged); 5 nothing could run because
        something is missing; 130 interrupted.
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
    """The harness in one place: settings and the store that they name.

    Args:
        settings: Where data, results and weights are.
    """

    settings: Settings

    @classmethod
    def here(cls, start: Path | None = None) -> Bench:
        """With the settings that hold in a folder (default: the working folder)."""
        return cls(load_settings(start))

    @property
    def store(self) -> Store:
        """Below the results folder.

        Raises:
            PrerequisiteError: There is a file where a folder should be.
        """
        root = self.settings.results / "store"
        above = next((path for path in (root, *root.parents) if path.exists()), root)
        if above.exists() and not above.is_dir():
            raise PrerequisiteError(f"{above} is a file; results go into the folder {self.settings.results}")
        return Store(root)

    @property
    def verified(self) -> Verified:
        """What is known of files with published checksums."""
        return Verified(self.settings.results / FILE)

    def suite(self, name: str | Path | None = None, profile: str | None = None) -> Suite:
        """A suite by path or bare name, default: the settings'; with a profile if one is named."""
        path = find_suite(str(name or self.settings.default_suite), self.settings)
        overlay = find_profile(profile, self.settings) if profile else None
        return load_suite(path, overlay, literature=literature_names(self.settings.literature))

    def plan(self, suite: str | Path | None = None, *, profile: str | None = None, only: Sequence[str] = ()) -> Plan:
        """The jobs of a suite; ``only`` keeps those that match a glob pattern, with what they need."""
        resolved = self.suite(suite, profile)
        return make_plan(resolved, self.settings.data, self.settings.weights).select(tuple(only))

    def whole(self, plan: Plan) -> Plan:
        """The plan of all jobs of the suite that ``plan`` may be a selection of."""
        return make_plan(plan.suite, self.settings.data, self.settings.weights)

    def states(self, plan: Plan, *, thorough: bool = False) -> dict[str, Status]:
        """Where every job of a plan stands, by key; ``thorough`` hashes every file of every result."""
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
    ) -> Run:
        """Run what has no result yet. Interrupt it at will: the same call continues.

        Args:
            suite: Path or bare name; default: the settings' default suite.
            profile: A profile to apply.
            only: Glob patterns of job ids.
            device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
            workers: Jobs at once; default: one per GPU, or one per core.
            force: Glob patterns of job ids whose results are dropped first, with all that depends on them.
            display: Shows the run; default: nothing.
            in_process: Run jobs one after the other in this process, to debug them.

        Raises:
            bench.errors.BenchError: The request is wrong, or something it needs is missing or damaged; then nothing was
                run.
        """
        from bench.execute.displays import SilentDisplay

        chosen = self.plan(suite, profile=profile, only=only)
        devices = slots(device, workers)
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

        def executor() -> Executor:
            return InProcess(site) if in_process else Pool(site, devices)

        def verify(todo: list[Job]) -> None:
            require(needed(todo, site.data, site.weights), self.verified)

        with announced(self.settings.results, [job.key for job in chosen.jobs]):
            verify(dropped)  # what cannot be made again is not dropped
            for job in dropped:
                self._drop(job)
            self._remember(chosen.suite)
            summary = run_plan(chosen, self.store, executor, display or SilentDisplay(), verify)
        return Run(chosen, summary)

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
        """The tables of a plan's suite, as far as the store fills them."""
        from bench.report.build import build_report

        return build_report(plan, self.store, self.settings.literature)

    @property
    def has_run(self) -> bool:
        """Whether a suite was run in this results folder."""
        return (self.settings.results / LAST).exists()

    def last(self, profile: str | None = None) -> tuple[str, str | None]:
        """Suite file and profile of the last run.

        Args:
            profile: What to use in place of the profile of that run, where a person names one.

        Raises:
            RequestError: None was run yet.
        """
        try:
            facts = json.loads((self.settings.results / LAST).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            raise RequestError(
                f"no suite was run yet in {self.settings.results}; name one, or run one first: bench run"
            ) from None
        return str(facts["suite"]), profile or facts["profile"]

    def results(self) -> pd.DataFrame:
        """Every measured number in the store, one row each, with its definition and origin."""
        import pandas as pd

        rows: list[Mapping[str, Any]] = []
        for folder in self.store.folders():
            record = folder.record()
            for number in (record or {}).get("numbers", ()):
                assert record is not None
                interval = number["interval"] or {}
                rows.append(
                    {
                        "job": record["job"],
                        "model": record["model"],
                        "family": record["family"],
                        "backbone": record["backbone"],
                        "dataset": record["dataset"],
                        "seed": record["seed"],
                        "evaluation": record["evaluation"],
                        "metric": number["metric"],
                        "argument": number["argument"],
                        "value": number["value"],
                        "low": interval.get("low"),
                        "high": interval.get("high"),
                        "interval": interval.get("kind"),
                        "n": number["n"],
                        "verdict": number["verdict"],
                        "reason": number["reason"],
                        "definition": number["definition"],
                        "weights": record["weights"],
                        "finished": record["finished"],
                        "key": record["key"],
                    }
                )
        return pd.DataFrame(rows)

    def load_model(
        self, name: str, *, suite: str | Path | None = None, profile: str | None = None, device: str = "cpu"
    ) -> Classifier:
        """A trained model as a plain module from images in [0, 1] to logits, in eval mode.

        Args:
            name: Name of a model in the suite, ``"gmmc-gen"``, or of one seed, ``"gmmc-gen/digits/seed1"``.
            suite: Default: the suite last run.
            profile: The profile that it was run with.
            device: Torch device.

        Raises:
            RequestError: No such model, or it is not trained.
        """
        from bench.data.job import job_splits
        from bench.trained import load

        path: str | Path
        path, profile = (suite, profile) if suite is not None else self.last(profile)
        chosen = self.plan(path, profile=profile)
        trains = [job for job in chosen.jobs if job.kind == "train"]
        for job in trains:
            if name in (job.model, job.id, job.id.removesuffix("/train")):
                folder = self.store.folder(job.key)
                record = folder.record()
                if record is None or record["status"] != "ok":
                    overlay = f" --profile {profile}" if profile else ""
                    raise RequestError(f"{job.id} is not trained; run it: bench run {path}{overlay} --only '{job.id}'")
                shape = job_splits(job.spec, self.settings.data).train.image_shape
                model, _ = load(folder, job.spec, chosen.suite.num_classes, shape, device, with_state=True)
                return model
        known = [job.model for job in trains] + [job.id.removesuffix("/train") for job in trains]
        raise RequestError(f"no model {name!r} in suite {chosen.suite.name}; {did_you_mean(name, known)}")

    def _remember(self, suite: Suite) -> None:
        facts = {"suite": str(suite.path.resolve()), "profile": suite.profile}
        write_json(self.settings.results / LAST, facts)


def run(suite: str | Path | None = None, **options: Any) -> Run:
    """Run a suite; see ``Bench.run``."""
    return Bench.here().run(suite, **options)


def plan(suite: str | Path | None = None, **options: Any) -> Plan:
    """The jobs of a suite; see ``Bench.plan``."""
    return Bench.here().plan(suite, **options)


def tables(suite: str | Path | None = None, *, profile: str | None = None) -> Report:
    """The tables of a suite as data; default: the suite last run."""
    bench = Bench.here()
    if suite is None:
        suite, profile = bench.last(profile)
    return bench.report(bench.plan(suite, profile=profile))


def results() -> pd.DataFrame:
    """Every measured number in the store as a data frame."""
    return Bench.here().results()


def load_model(name: str, **options: Any) -> Classifier:
    """A trained model as a plain module on [0, 1] images; see ``Bench.load_model``."""
    return Bench.here().load_model(name, **options)
