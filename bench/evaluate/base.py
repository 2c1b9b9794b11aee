"""The contract of an evaluation: one protocol that turns a trained model and data into numbers.

An evaluation module is light to import; what needs torch is imported inside ``evaluate``, which runs in a worker.
Planning, checking and tables use the rest.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import Field, NonNegativeInt

from bench.registry import Registry, when_asked
from bench.spec import Config, FamilySpec
from bench.store import Number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.evaluate.inputs import Inputs
    from bench.files.checksums import Checksum

__all__ = [
    "EVALUATIONS",
    "TESTS",
    "UNITS",
    "Column",
    "Direction",
    "Evaluation",
    "EvaluationConfig",
    "Judge",
    "Need",
    "Number",
    "Outcome",
    "Part",
    "Used",
]

Direction = Literal["up", "down"]
Test = Literal["mcnemar", "permutation"]

UNITS = ("fraction", "auroc", "l2", "1")
"""Units of columns: what renderers know how to write."""
TESTS: tuple[str, ...] = get_args(Test)
"""Paired tests of columns."""


class EvaluationConfig(Config):
    """Parameters that every evaluation has."""

    seed: NonNegativeInt = Field(
        0,
        description="Seed of the evaluation's own noise; shared by all models, so that comparisons are paired",
    )


@dataclass(frozen=True)
class Need:
    """An input of an evaluation.

    Attributes:
        split: ``"test"``, ``"validation"``, or ``"ood:<data set>"``.
        output: ``"forward"`` (logits, features, log densities, read-outs) or ``"gradient"`` (norms of the input
            gradient of log p(x)): what a shared predict job leaves.
    """

    split: str
    output: Literal["forward", "gradient"]


UNIT_RANGES: Mapping[str, tuple[float, float]] = {"fraction": (0.0, 1.0), "auroc": (0.0, 1.0), "l2": (0.0, math.inf)}
"""The range of the numbers of a unit; a number of unit ``"1"`` may be anything unless its column says more."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A number that an evaluation emits, known before anything ran.

    Attributes:
        metric: Name within the evaluation, such as ``"ece"`` or ``"log-density.auroc"``; ``"accuracy"``.
        argument: What follows ``@``, such as ``"8/255"`` or ``"svhn"``; empty if there is only one.
        label: Heading in a table.
        group: Heading above neighbouring columns that share it; empty for none.
        unit: ``"fraction"`` (shown in percent), ``"auroc"``, ``"l2"`` (pixels in [0, 1]) or ``"1"``.
        direction: Which way is better; None where neither is.
        definition: The full definition, derived from the resolved parameters.
        primary: Whether the metric may be left out of a column's name.
        test: Paired test over items that decides bold face: ``"mcnemar"`` of booleans, ``"permutation"`` of the mean of
            values; None: the column bolds nothing.
        readout: The read-out that the number needs, if a family might lack it.
        across: Name of an array in ``Outcome.items``, a value an item, infinite where it has none, that some number
            names as its ``items``. The cell is its mean over the items at which it is finite in every row of the
            table, so the report computes it from what the jobs stored and the evaluation emits no number for it.
        curve: Name of an array in ``Outcome.items``, a threshold an item (the norm that broke it), infinite where it
            has none. The column is a point of the curve of the share of items with ``"clean"`` whose threshold exceeds
            the argument, so the report can draw all of the curve.
        within: The least and the largest value that the number can have, where the unit does not tell; see `bounds`.
        controls: Arguments of the same metric under which the evaluation measures what is known beforehand, such as
            real images, so that the scale can be read. The report prints them below the table.
    """

    metric: str
    argument: str = ""
    label: str
    group: str = ""
    unit: str
    direction: Direction | None
    definition: str
    primary: bool = False
    test: Test | None = None
    readout: str | None = None
    across: str | None = None
    curve: str | None = None
    within: tuple[float, float] | None = None
    controls: tuple[str, ...] = ()

    @property
    def bounds(self) -> tuple[float, float]:
        """The range of the number: ``within``, or that of its unit. Intervals are cut to it."""
        return self.within or UNIT_RANGES.get(self.unit, (-math.inf, math.inf))


@dataclass(frozen=True)
class Outcome:
    """What one evaluation job leaves.

    Attributes:
        numbers: The measured numbers.
        items: Arrays over items; the array ``"ids"`` names the items, booleans and values align with it.
        files: Further files by name, as bytes (pictures).
        details: Anything else worth keeping, JSON-able.
    """

    numbers: Sequence[Number]
    items: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Judge:
    """An independent classifier that an evaluation measures with, trained by the harness like any model.

    Attributes:
        family: Reference of its family, ``"module:attribute"``.
        backbone: Reference of its backbone.
    """

    family: str
    backbone: str


@dataclass(frozen=True)
class Part:
    """An independently cached piece of an evaluation, such as one eps of an attack.

    Attributes:
        argument: Follows ``@`` in the job's name; empty for an evaluation in one piece.
        config: The parameters of this piece alone.
    """

    argument: str
    config: EvaluationConfig


@dataclass(frozen=True)
class Used:
    """A plug-in that an evaluation runs.

    Attributes:
        kind: Such as ``"attack"``.
        name: Its name.
        version: Its version; None: the digest of its source is in the key.
        module: Where its code is.
    """

    kind: str
    name: str
    version: int | None
    module: str


class Evaluation(ABC):
    """One protocol. Subclasses are registered under their ``name`` as instances.

    Class attributes:
        name: The ``kind`` in a suite.
        version: Raised by hand when a change of code changes a number; None: the digest of the source is used.
        summary, source: For ``describe``.
        Config: Schema of the parameters.
        requires: Capabilities that a family must have (``"density"``, ``"samples"``).
        model_fields: Fields of the parameters that hold names of other models of the suite, which the evaluation
            reads beside the one that it measures.
        dataset_fields: Fields of the parameters that hold names of data sets (profiles substitute them).
        reads_model: Whether the job needs the model itself rather than its predictions.
        reads_diverged: Whether it has something to say of training that diverged, which leaves no weights.
        least_items: Fewest items that its numbers are defined for.
    """

    name: ClassVar[str]
    version: ClassVar[int | None] = None
    summary: ClassVar[str]
    source: ClassVar[str]
    Config: ClassVar[type[EvaluationConfig]]
    requires: ClassVar[frozenset[str]] = frozenset()
    dataset_fields: ClassVar[tuple[str, ...]] = ()
    model_fields: ClassVar[tuple[str, ...]] = ()
    reads_model: ClassVar[bool] = False
    reads_diverged: ClassVar[bool] = False
    least_items: ClassVar[int] = 1

    def label(self, config: Any) -> str:  # noqa: ARG002 - for subclasses
        """Short name with resolved values, such as ``"PGD-40"``."""
        return self.name

    def needs(self, config: Any) -> tuple[Need, ...]:  # noqa: ARG002 - for subclasses
        """The predictions that the evaluation reads."""
        return ()

    @abstractmethod
    def columns(self, config: Any) -> tuple[Column, ...]:
        """Every number that it can emit for these parameters, and those that the report makes across rows of it."""

    def parts(self, config: Any) -> tuple[Part, ...]:
        """How the work splits into jobs."""
        return (Part("", config),)

    def passes(self, config: Any, items: int, family: FamilySpec) -> float:  # noqa: ARG002 - for subclasses
        """Network passes in forward-equivalents, beyond the shared predictions; 0 if it only reads those."""
        return 0.0

    def not_applicable(self, family: FamilySpec) -> str | None:
        """Why this evaluation has no meaning for a family, or None."""
        missing = sorted(self.requires - family.capabilities)
        if not missing:
            return None
        meaning = {"samples": "does not generate", "density": "has no density model"}
        return f"{family.label} {meaning.get(missing[0], 'lacks ' + missing[0])}"

    def impossible(self, config: Any, image_shape: tuple[int, int, int], classes: int) -> str | None:  # noqa: ARG002
        """Why the evaluation cannot be made of images of a shape (channels, height, width) and K classes, or None."""
        return None

    def missing(self, weights_root: Path) -> str | None:  # noqa: ARG002 - for subclasses
        """What the evaluation lacks on this machine (foreign weights) and where to put it, or None."""
        return None

    def checksums(self, weights_root: Path) -> tuple[Checksum, ...]:  # noqa: ARG002 - for subclasses
        """The foreign files that it reads, with their published checksums, as far as they are there."""
        return ()

    def others(self, config: Any) -> tuple[str, ...]:
        """Names of the other models of the suite that the evaluation reads: those in ``model_fields``."""
        values = [getattr(config, name) for name in self.model_fields]
        names = [name for value in values for name in ([value] if isinstance(value, str) else value)]
        return tuple(dict.fromkeys(names))

    def of_itself(self, config: Any) -> str | None:  # noqa: ARG002 - for subclasses
        """Why the evaluation has no meaning where the other model is the one that it measures, or None if it has."""
        return None

    def uses(self, config: Any) -> tuple[Used, ...]:  # noqa: ARG002 - for subclasses
        """Plug-ins of others, beside itself, whose code decides its numbers and is therefore in the key."""
        return ()

    def judge(self, config: Any) -> Judge | None:  # noqa: ARG002 - for subclasses
        """The independent classifier that the evaluation needs, if it needs one."""
        return None

    def without_samples(self, config: Any, reason: str) -> Outcome:
        """Every column n/a: the model can generate, but has nothing stored (imported without its buffer)."""
        return Outcome(
            [
                Number(metric=c.metric, argument=c.argument, value=None, n=0, definition=c.definition, reason=reason)
                for c in self.columns(config)
                if c.across is None
            ]
        )

    @abstractmethod
    def evaluate(self, config: Any, inputs: Inputs) -> Outcome:
        """Measure. Runs in a worker; may import torch."""


EVALUATIONS: Registry[Evaluation] = Registry(
    "evaluation",
    "evaluations",
    Evaluation,  # type: ignore[type-abstract]
    "bench.evaluations",
    builtin=when_asked("bench.evaluate.catalogue:EVALUATIONS"),
    problems=when_asked("bench.evaluate.declared:evaluation_problems"),
)
