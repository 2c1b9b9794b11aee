"""What a plan costs on a device before it runs: seconds of each job, their sum, the critical path, N workers.

Every figure says where it comes from. Jobs of the same kind that ran before come first, then the calibration of the
network (`bench.execute.calibrate`), then that of another network scaled by multiply-adds. What none of these tells is
unknown and not part of a sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bench.errors import BenchError
from bench.evaluate.base import EVALUATIONS
from bench.execute.estimate import Rates
from bench.execute.makespan import Node, critical_path, makespan
from bench.execute.scheduler import by_urgency
from bench.execute.speed import Calibration, Network
from bench.plan.jobs import Job, Plan
from bench.plan.tasks import EvaluateTask, PredictTask
from bench.spec import FAMILIES
from bench.store import ITEMS, Store

__all__ = ["SOURCES", "Estimate", "Price", "Pricing", "networks"]

Source = Literal["measured", "calibrated", "scaled", "unknown"]
SOURCES: Mapping[Source, str] = {
    "measured": "from jobs of the same kind that ran before, under the load of that time",
    "calibrated": "from the calibration of their network",
    "scaled": "from the calibration of another network, by multiply-adds",
    "unknown": "of unknown time",
}


@dataclass(frozen=True)
class Estimate:
    """The time of a job on one worker.

    Attributes:
        source: Where the time comes from.
        seconds: Expected seconds; None if they are unknown, also where only a bound is known.
        at_most: For an attack, the seconds if every item survives it; None if unknown, and for other jobs.
        like: For a scaled time the network that was measured.
        share: For an attack whose expected time is a share of its bound, that share, in [0, 1].
        share_of: The job that took this share of its passes.
    """

    source: Source
    seconds: float | None = None
    at_most: float | None = None
    like: Network | None = None
    share: float | None = None
    share_of: str | None = None

    @property
    def counted(self) -> float | None:
        """The seconds in sums: the expected ones, else the bound; None if neither is known."""
        return self.at_most if self.seconds is None else self.seconds

    @property
    def bound_only(self) -> bool:
        """Whether only a bound is known."""
        return self.seconds is None and self.at_most is not None


@dataclass(frozen=True)
class Price:
    """The cost of jobs on a kind of device.

    Attributes:
        device: Name of the device for people.
        kind: ``"cpu"`` or ``"cuda"``.
        jobs: The jobs, inputs before the jobs that read them.
        estimates: The time of each, by key.
        calibrated: Time of the calibration; None if there is none.
    """

    device: str
    kind: str
    jobs: tuple[Job, ...]
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    calibrated: str | None = None

    @property
    def known(self) -> bool:
        """Whether the time of any job that takes network passes is known."""
        return any(self.estimates[job.key].counted is not None for job in self.jobs if job.passes) or (
            bool(self.jobs) and not self.unknown
        )

    @property
    def unknown(self) -> list[Job]:
        """The jobs that no sum contains."""
        return [job for job in self.jobs if self.estimates[job.key].counted is None]

    @property
    def bounds(self) -> list[Job]:
        """The jobs of which only an upper bound is known, which sums contain."""
        return [job for job in self.jobs if self.estimates[job.key].bound_only]

    @property
    def seconds(self) -> float:
        """Seconds of all known jobs one after the other: expected ones, and bounds where nothing else is known."""
        return sum(self.estimates[job.key].counted or 0.0 for job in self.jobs)

    @property
    def at_most(self) -> float | None:
        """The same if every item survives every attack; None if that is unknown of an attack, or there is none."""
        attacks = [job for job in self.jobs if _is_bound(job)]
        bounds = [self.estimates[job.key].at_most for job in attacks]
        if not attacks or any(bound is None for bound in bounds):
            return None
        keys = {job.key for job in attacks}
        others = (self.estimates[job.key].counted or 0.0 for job in self.jobs if job.key not in keys)
        return sum(bound for bound in bounds if bound is not None) + sum(others)

    def critical_path(self) -> tuple[float, list[str]]:
        """Seconds and job ids of the longest chain of jobs that wait for each other."""
        ids = {job.key: job.id for job in self.jobs}
        seconds, chain = critical_path(self._nodes(self.jobs))
        return seconds, [ids[key] for key in chain]

    def makespan(self, workers: int) -> float:
        """Seconds on so many equally fast workers, which take jobs in the order in which a run starts them."""
        return makespan(self._nodes(by_urgency(self.jobs)), workers)

    def _nodes(self, jobs: Iterable[Job]) -> list[Node]:
        return [Node(job.key, self.estimates[job.key].counted or 0.0, job.inputs) for job in jobs]

    def sources(self) -> dict[Source, int]:
        """Number of jobs by where their time comes from."""
        found: dict[Source, int] = dict.fromkeys(SOURCES, 0)
        for job in self.jobs:
            found[self.estimates[job.key].source] += 1
        return found

    def as_json(self, workers: Iterable[int]) -> dict[str, Any]:
        """The figures for scripts; seconds are None where no job with network passes has a known time."""
        path, chain = self.critical_path()
        return {
            "device": self.kind,
            "name": self.device,
            "calibrated": self.calibrated,
            "jobs": len(self.jobs),
            "sources": self.sources(),
            "only_bounded": len(self.bounds),
            "seconds": self.seconds if self.known else None,
            "at_most": self.at_most,
            "critical_path": {"seconds": path, "jobs": chain} if self.known else None,
            "workers": {str(n): self.makespan(n) for n in workers} if self.known else {},
        }


@dataclass
class Pricing:
    """Prices jobs of a plan on a kind of device.

    Attributes:
        plan: The plan; its suites have the shapes of images.
        store: Where finished jobs are.
        rates: Times of finished jobs on this kind of device.
        calibration: Measured speeds of the device; None if there are none.
    """

    plan: Plan
    store: Store
    rates: Rates
    calibration: Calibration | None = None
    _shares: dict[str, tuple[float, str] | None] = field(default_factory=dict, repr=False)
    _speeds: dict[Network, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._shapes = {job.key: leaf.suite.image_shape for leaf in self.plan.leaves for job in leaf.jobs}

    def price(self, todo: Sequence[Job], device: str, kind: str) -> Price:
        """The cost of jobs; those with the same key are counted once."""
        jobs = tuple({job.key: job for job in todo}.values())
        estimates = {job.key: self.estimate(job) for job in jobs}
        measured = None if self.calibration is None else self.calibration.measured
        return Price(device, kind, jobs, estimates, measured)

    def estimate(self, job: Job) -> Estimate:
        """The time of a job."""
        calibrated = self._calibrated(job)
        small = self.rates.smaller(job)
        if small is not None and calibrated is not None and calibrated.counted is not None:
            # What small jobs took beyond their passes is the time of a start, which the large one has once.
            start = max(small[1] - calibrated.counted * small[0] / job.passes, 0.0)
            return replace(
                calibrated,
                seconds=None if calibrated.seconds is None else calibrated.seconds + start,
                at_most=None if calibrated.at_most is None else calibrated.at_most + start,
            )
        measured = self.rates.seconds(job)
        if measured is not None:
            at_most = calibrated.at_most if calibrated is not None else None
            # A bound below what such jobs took would be none.
            return Estimate("measured", measured, None if at_most is None else max(at_most, measured))
        return calibrated or Estimate("unknown")

    def _calibrated(self, job: Job) -> Estimate | None:
        network = Network(job.task.train.model.backbone, self._shapes[job.key])
        if self.calibration is None or not job.passes:
            return None
        if network not in self._speeds:
            self._speeds[network] = self.calibration.speed(network)
        if self._speeds[network] is None:
            return None
        speed, factor = self._speeds[network]
        source: Source = "calibrated" if speed.network == network else "scaled"
        like = None if source == "calibrated" else speed.network
        task = job.task
        if isinstance(task, PredictTask):
            return Estimate(source, factor * speed.predicting(task.output) * job.passes, like=like)
        if not isinstance(task, EvaluateTask):
            return Estimate(source, factor * speed.training(_of_an_item(job)) * job.passes, like=like)
        seconds = factor * speed.evaluating * job.passes
        if not task.at_most:
            return Estimate(source, seconds, like=like)
        share, of = self._share(job) or (None, None)
        return Estimate(source, None if share is None else share * seconds, seconds, like, share, of)

    def _share(self, job: Job) -> tuple[float, str] | None:
        """Passes that the first job of an attack on the data set took, as a share of its bound, and the job's id."""
        first = self.rates.first(job)
        if first is None:
            return None
        key, name = first
        if key not in self._shares:
            share = _spent(self.store, key)
            self._shares[key] = None if share is None else (share, name)
        return self._shares[key]


def networks(plan: Plan, jobs: Iterable[Job]) -> list[Network]:
    """The networks of jobs that take network passes, each once, in the order of the jobs."""
    shapes = {job.key: leaf.suite.image_shape for leaf in plan.leaves for job in leaf.jobs}
    found = (Network(job.task.train.model.backbone, shapes[job.key]) for job in jobs if job.passes)
    return list(dict.fromkeys(found))


def _is_bound(job: Job) -> bool:
    return isinstance(job.task, EvaluateTask) and job.task.at_most


def _of_an_item(job: Job) -> float:
    """Passes of a training for one item in one epoch."""
    model = job.task.train.model
    family = FAMILIES.get(model.family)
    return float(family.passes(family.config.read(model.config)))


def _spent(store: Store, key: str) -> float | None:
    """Network passes that a finished job took, as a share of its bound in [0, 1]; None if that is not stored."""
    folder = store.folder(key)
    record = folder.record()
    if record is None or not record.passes or record.measured.items is None:
        return None
    try:
        evaluation = EVALUATIONS.get(record.measured.kind)
        spent = evaluation.spent(record.measured.config, folder.arrays(ITEMS))
    except BenchError:  # damaged arrays, or an evaluation that is no longer installed
        return None
    return None if spent is None else min(spent / record.passes, 1.0)
