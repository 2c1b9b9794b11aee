"""The typed record of a job: `Record` with its one reader and its one writer.

``record.json`` is one flat JSON object with the fields that every record has and those of its kind. Each kind has a
class of its own (`Training`, `Prediction`, `Measured`). A record has all three; those of other kinds are empty. The
reader takes records of every schema: a field that an older record lacks has its default, and unknown fields are left
out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from bench.metrics.intervals import IfCalibrated, Interval

__all__ = ["SCHEMA", "Measured", "Number", "PlannedJob", "Prediction", "Provenance", "Record", "Training"]

SCHEMA = 2
"""Schema of the records that this version writes; records of schema 1 have no digests."""


class Later(Protocol):
    """Reads members of a record that were left out."""

    @property
    def names(self) -> Collection[str]:
        """Names of the members."""

    def __call__(self, name: str) -> Any:
        """The value of a member, as JSON.

        Raises:
            bench.errors.DamagedFileError: The record is no longer what it was.
        """


@dataclass(frozen=True, kw_only=True)
class Number:
    """One measured number, as an evaluation returns it and as a record holds it.

    Attributes:
        metric: As in ``bench.evaluate.base.Column``.
        argument: As in ``Column``.
        value: The number; fractions are in [0, 1]. None with a ``reason``.
        n: Number of items that it was measured on.
        interval: Item-level confidence interval, if one is known.
        if_calibrated: For a calibration error: what a calibrated model with the same confidences would score.
        items: Name of the array of per-item values in ``Outcome.items`` that paired tests use.
        reason: Why there is no value.
        verdict: For robustness: a word of ``bench.attacks.verdict.WORDS``.
        flags: Measured warnings, such as ``{"GRAD0": 0.52}``.
        definition: The full definition; must equal the column's.
        not_finite: Number of items without a finite output of the model. They are among the ``n`` and count as wrong.
        note: A remark on the value, printed below the table.
    """

    metric: str
    argument: str = ""
    value: float | None
    n: int
    definition: str
    interval: Interval | None = None
    if_calibrated: IfCalibrated | None = None
    items: str | None = None
    reason: str | None = None
    verdict: str | None = None
    flags: Mapping[str, float | str] = field(default_factory=dict)
    not_finite: int = 0
    note: str | None = None

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Number:
        """Read a number of a record."""
        from bench.metrics.intervals import IfCalibrated, Interval  # loads SciPy

        interval, calibrated = facts.get("interval"), facts.get("if_calibrated")
        read = {
            "interval": None if interval is None else Interval(**interval),
            "if_calibrated": None if calibrated is None else IfCalibrated(**calibrated),
        }
        return cls(**(_known(cls, facts) | read))

    def as_json(self) -> dict[str, Any]:
        """All fields, ``if_calibrated`` only if it is known; NumPy's numbers become Python's."""
        return {
            **{name: value for name, value in _all(self).items() if name != "if_calibrated"},
            "value": None if self.value is None else float(self.value),
            "n": int(self.n),
            "interval": None if self.interval is None else asdict(self.interval),
            **({} if self.if_calibrated is None else {"if_calibrated": asdict(self.if_calibrated)}),
            "flags": dict(self.flags),
            "not_finite": int(self.not_finite),
        }


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a result came from, as `bench.execute.provenance` finds it.

    Attributes:
        versions: Versions of Python and of packages, by name.
        harness: Commit of the harness and whether it was edited since; None outside of a checkout.
        command: The command that the user typed.
        machine: System, architecture and number of cores.
        device: Torch device, or ``"none"`` for a job that used no network.
        threads: Threads of torch. This and the following fields are None if torch was not loaded or they do not apply
            to the device.
        cpu_capability: The vector instructions that torch uses.
        device_name: Name of the GPU.
        cuda: Version of CUDA.
        cudnn: Version of cuDNN.
        tf32: Whether matrix products on the GPU were in TF32.
        device_memory: Memory of the GPU in bytes.
        peak_memory: The most of it that the job held, in bytes.
        memory_share: The part of it that the job was allowed to plan with, in (0, 1].
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    harness: Mapping[str, Any] | None = None
    command: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    device: str = "none"
    threads: int | None = None
    cpu_capability: str | None = None
    device_name: str | None = None
    cuda: str | None = None
    cudnn: int | None = None
    tf32: bool | None = None
    device_memory: int | None = None
    peak_memory: int | None = None
    memory_share: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields that are not None, and ``harness``."""
        return {"harness": self.harness, **_given(self)}


@dataclass(frozen=True, kw_only=True)
class Training:
    """The result of training besides the weights; fields that do not apply to the model are None.

    Attributes:
        data: The data as the job names them, with the number of training items.
        init_from: SHA-256 of the weights that training started from.
        adopted: For a model that was not trained here: the file of its weights, or True if its code brings them.
        imported: Facts that the import recorded of the model.
        notes: Notes of the family on a model that was not trained here.
        history: Name of the file with the history.
        epochs: Number of epochs.
        iterations: Logged facts by iteration.
        trips: One entry for each time the guard tripped: where, why, and what was changed.
        restarts: How often training started again after a trip.
        resumed: The checkpoint from which training continued after a kill.
        precision: Numeric precision of training steps.
        cudnn: How cuDNN's kernels were chosen in training steps.
        divergence: The last trip, if training diverged.
        selected_epoch: The epoch whose weights are kept.
        validation_accuracy: Validation accuracy at the selected epoch, in [0, 1].
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    adopted: str | bool | None = None
    imported: Mapping[str, Any] | None = None
    notes: Sequence[str] | None = None
    history: str | None = None
    epochs: int | None = None
    iterations: Sequence[Mapping[str, Any]] | None = None
    trips: Sequence[Mapping[str, Any]] | None = None
    restarts: int | None = None
    resumed: str | None = None
    precision: str | None = None
    cudnn: str | None = None
    divergence: Mapping[str, Any] | None = None
    selected_epoch: int | None = None
    validation_accuracy: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields that are not None; if training ran here, also ``resumed``."""
        resumed = {"resumed": self.resumed} if self.history is not None else {}
        return {**resumed, **_given(self)}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The result of a prediction pass.

    Attributes:
        n: Number of items.
        batch_size: Batch size of the pass.
        file: Name of the file of arrays.
    """

    n: int | None = None
    batch_size: int | None = None
    file: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields that are not None."""
        return _given(self)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The result of an evaluation.

    Attributes:
        kind: Reference of the evaluation.
        config: Its parameters.
        read: SHA-256 of the weights that the evaluation loaded, by key of the train job.
        data: The data as the job names them.
        numbers: The measured numbers.
        items: Name of the file of arrays over items; None if there is none.
        files: Names of further files, such as pictures.
        details: Further facts that the evaluation keeps.
    """

    kind: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    read: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    # Without a default in the class, so that `__getattr__` is asked for what is read later.
    numbers: tuple[Number, ...] = field(default_factory=tuple)
    items: str | None = None
    files: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], later: Later | None = None) -> Measured:
        """Read the fields of an evaluation from a record of any schema.

        Args:
            facts: The record.
            later: Reads the members that it names when somebody asks for them, in place of those of ``facts``.
        """
        known = {**_known(cls, facts), "kind": facts.get("evaluation_kind") or ""}
        known["numbers"] = tuple(Number.from_json(number) for number in facts.get("numbers", ()))
        measured = cls(**known)
        if later is not None:
            for name in later.names:
                del measured.__dict__[name]
            measured.__dict__["_later"] = later
        return measured

    def __getattr__(self, name: str) -> Any:
        """Read a field that was left for later."""
        later = self.__dict__.get("_later")
        if later is None or name not in later.names:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = later(name)
        self.__dict__[name] = tuple(map(Number.from_json, value)) if name == "numbers" else value
        return self.__dict__[name]

    def number(self, metric: str, argument: str) -> Number | None:
        """The number of a metric and an argument. Of a stored record only this one is made and kept."""
        if "numbers" in self.__dict__:
            return next((one for one in self.numbers if (one.metric, one.argument) == (metric, argument)), None)
        for number in self.__dict__["_later"]("numbers"):
            if (number["metric"], number.get("argument", "")) == (metric, argument):
                return Number.from_json(number)
        return None

    def as_json(self) -> dict[str, Any]:
        """All fields."""
        facts = _all(self)
        numbers = [number.as_json() for number in self.numbers]
        return {"evaluation_kind": facts.pop("kind"), **facts, "numbers": numbers, "files": sorted(self.files)}

    def unmeasured(self, number: Number) -> tuple[str, ...]:
        """Names of the checks that were not made for the verdict of a number; empty for a number without a verdict."""
        if not number.verdict:
            return ()
        names = self.details.get("not_measured", ())
        if isinstance(names, Mapping):
            names = names.get(number.metric, ())
        return tuple(names)


_KINDS = {"training": "train", "prediction": "predict", "measured": "evaluate"}
"""The parts of a record, and the kind of job that has each."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of a job, with its fields in the order in which they are stored.

    Attributes:
        schema: Schema that the record was written in.
        job: Id of the job.
        kind: ``"train"``, ``"predict"`` or ``"evaluate"``.
        model: Name of the model in the suite; empty for a shared job.
        family: Family of the model.
        backbone: Backbone of the model.
        dataset: The in-distribution data set.
        seed: Training seed.
        evaluation: Id of the evaluation in the suite; empty for other jobs.
        argument: The part of the evaluation.
        status: ``"ok"`` or ``"diverged"``.
        reason: Why training diverged.
        training: Result of a train job.
        prediction: Result of a predict job.
        measured: Result of an evaluate job.
        weights: SHA-256 of the weights that training left, or that the result was made with.
        passes: Cost in network passes.
        seconds: Wall time.
        finished: Time of the end in UTC, such as ``"2026-11-28T13:37:38Z"``.
        provenance: Where the result came from.
        key: Key of the job.
        artefacts: SHA-256 by name of the files that belong to the result.
    """

    schema: int = SCHEMA
    job: str = ""
    kind: str
    model: str = ""
    family: str = ""
    backbone: str = ""
    dataset: str = ""
    seed: int = 0
    evaluation: str = ""
    argument: str = ""
    status: Literal["ok", "diverged"] = "ok"
    reason: str | None = None
    training: Training = field(default_factory=Training)
    prediction: Prediction = field(default_factory=Prediction)
    measured: Measured = field(default_factory=Measured)
    weights: str | None = None
    passes: float = 0.0
    seconds: float = 0.0
    finished: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    key: str = ""
    artefacts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], later: Later | None = None) -> Record:
        """Read a record of any schema.

        Args:
            facts: The record.
            later: As in `Measured.from_json`.

        Raises:
            TypeError, ValueError, AttributeError: ``facts`` are no record.
        """
        kind = facts.get("kind", "")
        parts = {
            "training": Training(**_known(Training, facts)) if kind == "train" else Training(),
            "prediction": Prediction(**_known(Prediction, facts)) if kind == "predict" else Prediction(),
            "measured": Measured.from_json(facts, later) if kind == "evaluate" else Measured(),
            "provenance": Provenance(**_known(Provenance, facts.get("provenance") or {})),
        }
        return cls(**{"kind": kind, **_known(cls, facts), **parts})

    def as_json(self) -> dict[str, Any]:
        """The record as it is stored, without its own digest."""
        facts: dict[str, Any] = {}
        for name, value in _all(self).items():
            if name in _KINDS:
                facts |= value.as_json() if self.kind == _KINDS[name] else {}
            elif name == "provenance":
                facts[name] = value.as_json()
            elif value is not None or (name == "weights" and self.kind == "evaluate"):
                facts[name] = value
        return facts

    @property
    def diverged(self) -> bool:
        """Whether training diverged, so that there are no weights."""
        return self.status == "diverged"


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """A job as it was planned, read from ``job.json``, for commands that do not know its suite.

    The file is no part of the result and has no digest: a field that cannot be read is empty.

    Attributes:
        id: Id of the job.
        family: Family of the model.
        backbone: Backbone of the model.
        dataset: The in-distribution data set.
        data_seed: Data seed.
        seed: Training seed.
        config: Hyper-parameters of the model.
        settings: Parameters of the evaluation.
        train: Key of the training of the model; None for a train job.
        spec: The whole specification, for printing.
    """

    id: str = ""
    family: str | None = None
    backbone: str | None = None
    dataset: str | None = None
    data_seed: int | None = None
    seed: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    train: str | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> PlannedJob:
        """Read the content of a ``job.json`` of any version."""
        spec = _mapping(facts, "spec")
        data = _mapping(spec, "data")
        return cls(
            id=str(facts.get("id") or ""),
            family=spec.get("family"),
            backbone=spec.get("backbone"),
            dataset=data.get("dataset"),
            data_seed=data.get("seed"),
            seed=spec.get("seed"),
            config=_mapping(spec, "config"),
            settings=_mapping(spec, "evaluation_config"),
            train=spec.get("train"),
            spec=spec,
        )


def _mapping(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = facts.get(name)
    return found if isinstance(found, Mapping) else {}


def _known(cls: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``facts`` that are fields of a class."""
    return {name: facts[name] for name in _names(cls) if name in facts}


@cache
def _names(cls: Any) -> tuple[str, ...]:
    """The names of a class's fields. A store may hold millions of numbers, and `fields` makes its answer anew."""
    return tuple(one.name for one in fields(cls))


def _all(part: Any) -> dict[str, Any]:
    """The fields of a part, in their order."""
    return {one.name: getattr(part, one.name) for one in fields(part)}


def _given(part: Any) -> dict[str, Any]:
    """The fields of a part that are not None, in their order."""
    return {name: value for name, value in _all(part).items() if value is not None}
