"""What a job leaves, typed: `Record` with its one reader and its one writer.

``record.json`` is one flat JSON object: the fields that every record has, beside those of its kind. Here each kind has
a class of its own (`Training`, `Prediction`, `Measured`), and a record has all three, of which those of other kinds are
empty. The reader takes records of every schema: a field that an older record lacks has its default, and a field that
is not known here is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bench.metrics.intervals import Interval

__all__ = ["SCHEMA", "Measured", "Number", "PlannedJob", "Prediction", "Provenance", "Record", "Training"]

SCHEMA = 2
"""Of records as they are written; those of schema 1 have no digests."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """One measured number, as an evaluation returns it and as a record holds it.

    Attributes:
        metric: As in ``bench.evaluate.base.Column``.
        argument: As in ``Column``.
        value: The number, fractions in [0, 1]; None with a ``reason``.
        n: Items that it was measured on.
        interval: Item-level confidence interval, if one is known.
        items: Name of the array of per-item values in ``Outcome.items`` that paired tests use.
        reason: Why there is no value.
        verdict: For robustness: a word of ``bench.attacks.diagnostics.WORDS``.
        flags: Measured warnings, such as ``{"GRAD0": 0.52}``.
        definition: The full definition; must equal the column's.
        not_finite: Items without a finite output of the model. They are among the ``n`` and count as wrong.
        note: What a reader must know of the value, printed below the table.
    """

    metric: str
    argument: str = ""
    value: float | None
    n: int
    definition: str
    interval: Interval | None = None
    items: str | None = None
    reason: str | None = None
    verdict: str | None = None
    flags: Mapping[str, float | str] = field(default_factory=dict)
    not_finite: int = 0
    note: str | None = None

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Number:
        """A number of a record."""
        from bench.metrics.intervals import Interval  # loads SciPy

        interval = facts.get("interval")
        return cls(**{**_known(cls, facts), "interval": None if interval is None else Interval(**interval)})

    def as_json(self) -> dict[str, Any]:
        """All of it; NumPy's numbers become Python's."""
        return {
            **_all(self),
            "value": None if self.value is None else float(self.value),
            "n": int(self.n),
            "interval": None if self.interval is None else asdict(self.interval),
            "flags": dict(self.flags),
            "not_finite": int(self.not_finite),
        }


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a result came from; `bench.execute.provenance` finds it out.

    Attributes:
        versions: Of Python and of packages, by name.
        harness: Commit of the harness and whether it was edited since; None outside of a checkout.
        command: What a person typed.
        machine: System, architecture and number of cores.
        device: Torch device, or ``"none"`` for a job that used no network.
        threads: Of torch; None, as all that follow, where torch was not loaded or the device is another.
        cpu_capability: The vector instructions that torch uses.
        device_name: Of the GPU.
        cuda: Version.
        cudnn: Version.
        tf32: Whether matrix products on the GPU were in TF32.
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

    def as_json(self) -> dict[str, Any]:
        """What is known."""
        return {"harness": self.harness, **_given(self)}


@dataclass(frozen=True, kw_only=True)
class Training:
    """What training left beside its weights; a field is None where it says nothing of this model.

    Attributes:
        data: The data as the job names them, with the number of training items.
        init_from: SHA-256 of the weights that training started from.
        adopted: Of a model that was not trained here: the file of its weights, or True if its code brings them.
        imported: What the import recorded of the model.
        notes: Of the family, on a model that was not trained here.
        history: Name of the file with the history.
        epochs: Number of epochs.
        iterations: What was logged of iterations.
        trips: What the guard tripped over.
        restarts: How often training started again after a trip.
        resumed: From which checkpoint training went on after a kill.
        precision: Of training steps.
        compiled: Whether they were compiled.
        not_compiled: Why not, where compiling failed.
        divergence: The last trip, where training diverged.
        selected_epoch: The epoch whose weights are kept.
        validation_accuracy: At that epoch, in [0, 1].
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
    compiled: bool | None = None
    not_compiled: str | None = None
    divergence: Mapping[str, Any] | None = None
    selected_epoch: int | None = None
    validation_accuracy: float | None = None

    def as_json(self) -> dict[str, Any]:
        """What is known; of training that ran also that it was not resumed."""
        resumed = {"resumed": self.resumed} if self.history is not None else {}
        return {**resumed, **_given(self)}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a prediction pass left.

    Attributes:
        n: Items.
        batch_size: Of the pass.
        file: Name of the file of arrays.
    """

    n: int | None = None
    batch_size: int | None = None
    file: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What is known."""
        return _given(self)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What an evaluation left.

    Attributes:
        kind: Of the evaluation.
        config: Its parameters.
        read: By key of a train job, the SHA-256 of the weights that the evaluation loaded.
        data: The data as the job names them.
        numbers: The measured numbers.
        items: Name of the file of arrays over items; None if there is none.
        files: Names of further files, such as pictures.
        details: Anything else that the evaluation keeps.
    """

    kind: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    read: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    numbers: tuple[Number, ...] = ()
    items: str | None = None
    files: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Measured:
        """What a record of any schema says of an evaluation."""
        known = _known(cls, facts)
        numbers = tuple(Number.from_json(number) for number in facts.get("numbers", ()))
        return cls(**{**known, "kind": facts.get("evaluation_kind") or "", "numbers": numbers})

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        facts = _all(self)
        numbers = [number.as_json() for number in self.numbers]
        return {"evaluation_kind": facts.pop("kind"), **facts, "numbers": numbers, "files": sorted(self.files)}

    def unmeasured(self, number: Number) -> tuple[str, ...]:
        """The checks behind the verdict of a number that were not made; none of a number without a verdict."""
        names = self.details.get("not_measured", ())
        if isinstance(names, Mapping):
            names = names.get(number.metric, ())
        return tuple(names) if number.verdict else ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """What every job leaves.

    Attributes:
        job: Id of the job.
        kind: ``"train"``, ``"predict"`` or ``"evaluate"``.
        model: Name of the model in the suite; empty for a shared job.
        family: Of the model.
        backbone: Of the model.
        dataset: The in-distribution data set.
        seed: Training seed.
        evaluation: Id of the evaluation in the suite; empty for other jobs.
        argument: The part of the evaluation.
        status: ``"ok"`` or ``"diverged"``.
        reason: Of a divergence.
        weights: SHA-256 of the weights that training left, or that the result was made with.
        training: Of a train job.
        prediction: Of a predict job.
        measured: Of an evaluate job.
        passes: Cost in network passes.
        seconds: Wall time.
        finished: When, such as ``"2026-11-28T13:37:38Z"``.
        provenance: Where the result came from.
        schema: That the record was written in.
        key: Of the job.
        artefacts: SHA-256 by name of the files that belong to the result.
    """

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
    weights: str | None = None
    training: Training = field(default_factory=Training)
    prediction: Prediction = field(default_factory=Prediction)
    measured: Measured = field(default_factory=Measured)
    passes: float = 0.0
    seconds: float = 0.0
    finished: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    schema: int = SCHEMA
    key: str = ""
    artefacts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Record:
        """A record of any schema.

        Raises:
            TypeError, ValueError, AttributeError: It is none.
        """
        kind = facts.get("kind", "")
        parts = {
            "training": Training(**_known(Training, facts)) if kind == "train" else Training(),
            "prediction": Prediction(**_known(Prediction, facts)) if kind == "predict" else Prediction(),
            "measured": Measured.from_json(facts) if kind == "evaluate" else Measured(),
            "provenance": Provenance(**_known(Provenance, facts.get("provenance") or {})),
        }
        return cls(**{"kind": kind, **_known(cls, facts), **parts})

    def as_json(self) -> dict[str, Any]:
        """The record as it is stored, without the digest of itself."""
        parts: dict[str, Training | Prediction | Measured] = {
            "train": self.training,
            "predict": self.prediction,
            "evaluate": self.measured,
        }
        part = parts.get(self.kind)
        weights = {"weights": self.weights} if self.weights is not None or self.kind == "evaluate" else {}
        return {
            "schema": self.schema,
            "job": self.job,
            "kind": self.kind,
            "model": self.model,
            "family": self.family,
            "backbone": self.backbone,
            "dataset": self.dataset,
            "seed": self.seed,
            "evaluation": self.evaluation,
            "argument": self.argument,
            "status": self.status,
            **({"reason": self.reason} if self.reason is not None else {}),
            **(part.as_json() if part is not None else {}),
            **weights,
            "passes": self.passes,
            "seconds": self.seconds,
            "finished": self.finished,
            "provenance": self.provenance.as_json(),
            "key": self.key,
            "artefacts": dict(self.artefacts),
        }

    @property
    def diverged(self) -> bool:
        """Whether training diverged, so that there are no weights."""
        return self.status == "diverged"


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """A job as it was planned, as far as somebody asks for it who may not know its suite (``job.json``).

    The file is no part of the result, so nothing vouches for it: what cannot be read is empty.

    Attributes:
        id: Of the job.
        family: Of the model.
        backbone: Of the model.
        dataset: The in-distribution data set.
        data_seed: Of the data.
        seed: Training seed.
        config: Hyper-parameters of the model.
        settings: Parameters of the evaluation.
        train: Key of the training of the model; None for a train job.
        spec: All of it, for whoever prints it whole.
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
        """What ``job.json`` of any version says."""
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
    """Of JSON the fields that a class has."""
    return {one.name: facts[one.name] for one in fields(cls) if one.name in facts}


def _all(part: Any) -> dict[str, Any]:
    """The fields of a part, in their order."""
    return {one.name: getattr(part, one.name) for one in fields(part)}


def _given(part: Any) -> dict[str, Any]:
    """The fields of a part that are not None, in their order."""
    return {name: value for name, value in _all(part).items() if value is not None}
