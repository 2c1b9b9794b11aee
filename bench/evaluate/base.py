"""The contract of an evaluation: one protocol that turns a trained model and data into numbers.

An evaluation module is light to import: torch is imported inside ``evaluate``, which runs in a worker. Planning,
checking and tables use the other methods.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import Field, NonNegativeInt

from bench.plugins.sources import component
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
Test = Literal["mcnemar", "permutation", "auroc"]

UNITS = ("fraction", "auroc", "l2", "1")
"""Units of columns that renderers support."""
TESTS: tuple[str, ...] = get_args(Test)
"""Paired tests of columns."""


_WITHOUT = {
    "classes": "does not classify",
    "density": "has no density model",
    "likelihood": "has no exact density",
    "samples": "does not generate",
}
"""What is said of a family by the capability that it lacks."""


class EvaluationConfig(Config):
    """Common parameters of all evaluations."""

    seed: NonNegativeInt = Field(
        0,
        description="Seed of the evaluation's own noise; shared by all models, so that comparisons are paired",
    )


@dataclass(frozen=True)
class Need:
    """An input of an evaluation.

    Attributes:
        split: ``"train"`` (un-augmented, in a fixed order), ``"validation"``, ``"test"`` or ``"ood:<data set>"``.
        output: Output of a shared predict job: ``"forward"`` (logits, features, log densities, read-outs) or
            ``"gradient"`` (norms of the input gradient of log p(x)).
    """

    split: str
    output: Literal["forward", "gradient"]


UNIT_RANGES: Mapping[str, tuple[float, float]] = {"fraction": (0.0, 1.0), "auroc": (0.0, 1.0), "l2": (0.0, math.inf)}
"""The range of numbers by unit; the range of unit ``"1"`` is unlimited unless a column restricts it."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """The declaration of a number that an evaluation emits, known before a job runs.

    Attributes:
        metric: Name within the evaluation, such as ``"ece"`` or ``"log-density.auroc"``.
        argument: Text after ``@``, such as ``"8/255"`` or ``"svhn"``; empty if there is only one.
        label: Heading in a table.
        group: Heading above neighbouring columns that share it; empty for none.
        unit: ``"fraction"`` (shown in percent), ``"auroc"``, ``"l2"`` (pixels in [0, 1]) or ``"1"``.
        direction: Whether larger (``"up"``) or smaller (``"down"``) is better; None: neither.
        definition: The full definition, derived from the resolved parameters.
        primary: Whether the metric may be left out of a column's name.
        test: Paired test over items that decides bold face: ``"mcnemar"`` of booleans, ``"permutation"`` of the mean of
            values, ``"auroc"`` of the scores of two sets (the arrays ``<items>`` and ``<items>@<argument>``); None: no
            bold face in this column.
        readout: The read-out that the number needs, if a family might lack it.
        across: Name of an array in ``Outcome.items`` with one value per item, infinite where an item has none; a number
            must name this array as its ``items``. The cell is the mean over the items whose value is finite in every
            row of the table. The report computes it from stored arrays, so the evaluation emits no number for it.
        curve: Name of an array in ``Outcome.items`` with one threshold per item (the norm that broke it), infinite
            where an item has none. The column is one point of a curve, the share of items with ``"clean"`` whose
            threshold exceeds the argument, so the report can draw the whole curve.
        axis: What the argument, a number, is a size of, such as ``"severity"``. Accuracies with the same metric are
            then the points of a line in the chart of a table; budgets of attacks need none.
        within: Smallest and largest possible value, if the unit does not imply them; see `bounds`.
        controls: Arguments of the same metric that measure known cases, such as real images, as a reference for the
            scale. The report prints them below the table.
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
    axis: str = ""
    within: tuple[float, float] | None = None
    controls: tuple[str, ...] = ()

    @property
    def bounds(self) -> tuple[float, float]:
        """The range of the number: ``within``, or that of its unit. Intervals are cut to it."""
        return self.within or UNIT_RANGES.get(self.unit, (-math.inf, math.inf))


@dataclass(frozen=True)
class Outcome:
    """The result of one evaluation job.

    Attributes:
        numbers: The measured numbers.
        items: Arrays over items; ``"ids"`` identifies the items, the other arrays align with it.
        files: Further files by name, as bytes (pictures).
        details: Further facts that can be written as JSON.
        sets: Arrays over the items of other data sets, by the name of the set. Each has an array ``"ids"`` of its own,
            with which its other arrays align. They are stored beside ``items`` as ``"<array>@<set>"``.
    """

    numbers: Sequence[Number]
    items: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    sets: Mapping[str, Mapping[str, NDArray[np.generic]]] = field(default_factory=dict)

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All arrays by the names under which they are stored."""
        others = {f"{name}@{which}": array for which, arrays in self.sets.items() for name, array in arrays.items()}
        return {**self.items, **others}


@dataclass(frozen=True)
class Judge:
    """An independent classifier that an evaluation uses for measurements, trained by the harness like any model.

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
        argument: Text after ``@`` in the job's name; empty for an evaluation in one piece.
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
        role: Distinguishes several plug-ins of one kind in the key; the kind, where there is one at most.
    """

    kind: str
    name: str
    version: int | None
    module: str
    role: str = ""

    @property
    def identity(self) -> tuple[str, Mapping[str, Any]]:
        """Its role, and the part of the key that identifies its code."""
        return self.role or self.kind, component(self.name, self.version, f"{self.module}:_")


class Evaluation(ABC):
    """One protocol. Subclasses are registered under their ``name`` as instances.

    Class attributes:
        name: The ``kind`` in a suite.
        version: Raised by hand when a change of code changes a number; None: the digest of the source is used.
        summary, source: For ``describe``.
        Config: Schema of the parameters.
        classifies: Whether it needs models that classify.
        requires: Further capabilities that a family must have (``"density"``, ``"likelihood"``, ``"samples"``).
        model_fields: Fields of the parameters that hold names of other models of the suite, which the evaluation
            reads in addition to the measured one.
        dataset_fields: Fields of the parameters that hold names of data sets, which profiles substitute: a name, a list
            of names, or lists by another name, such as groups.
        skips_absent_sets: Whether it measures the other data sets if the files of one are missing;
            else all of its numbers are n/a then. `Inputs.absent_sets` names the missing ones.
        file_fields: Fields of the parameters that hold the path of a file, relative to the suite, or None. The content
            of the file is in the key.
        reads_model: Whether the job needs the model itself rather than its predictions.
        reads_diverged: Whether it applies to diverged training, which leaves no weights.
        at_most: Whether ``passes`` is an upper bound, because broken items are left alone; then `spent` says what a job
            cost.
        least_items: Fewest items for which its numbers are defined.
    """

    name: ClassVar[str]
    version: ClassVar[int | None] = None
    summary: ClassVar[str]
    source: ClassVar[str]
    Config: ClassVar[type[EvaluationConfig]]
    classifies: ClassVar[bool] = True
    requires: ClassVar[frozenset[str]] = frozenset()
    dataset_fields: ClassVar[tuple[str, ...]] = ()
    skips_absent_sets: ClassVar[bool] = False
    file_fields: ClassVar[tuple[str, ...]] = ()
    model_fields: ClassVar[tuple[str, ...]] = ()
    reads_model: ClassVar[bool] = False
    reads_diverged: ClassVar[bool] = False
    at_most: ClassVar[bool] = False
    least_items: ClassVar[int] = 1

    def label(self, config: Any) -> str:  # noqa: ARG002 - for subclasses
        """Short name with resolved values, such as ``"PGD-40"``."""
        return self.name

    def needs(self, config: Any) -> tuple[Need, ...]:  # noqa: ARG002 - for subclasses
        """The predictions that the evaluation reads."""
        return ()

    @abstractmethod
    def columns(self, config: Any) -> tuple[Column, ...]:
        """All numbers that it can emit for these parameters, and those that the report computes across rows."""

    def parts(self, config: Any) -> tuple[Part, ...]:
        """The jobs into which the work is split."""
        return (Part("", config),)

    def passes(self, config: Any, items: int, family: FamilySpec) -> float:  # noqa: ARG002 - for subclasses
        """Network passes in forward-equivalents, beyond the shared predictions; 0 if it only reads predictions."""
        return 0.0

    def spent(self, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> float | None:  # noqa: ARG002
        """The network passes that a finished job took, from what it stored; None if that is not known.

        Args:
            config: The parameters in its record.
            arrays: Its arrays over items, by name.
        """
        return None

    def not_applicable(self, family: FamilySpec) -> str | None:
        """Why this evaluation has no meaning for a family, or None."""
        required = self.requires | ({"classes"} if self.classifies else set())
        missing = sorted(required - family.can)
        if not missing:
            return None
        return f"{family.label} {_WITHOUT.get(missing[0], 'lacks ' + missing[0])}"

    def impossible(self, config: Any, image_shape: tuple[int, int, int], classes: int) -> str | None:  # noqa: ARG002
        """Why the evaluation cannot run on images of a shape (channels, height, width) and K classes, or None."""
        return None

    def published_sets(self, config: Any, dataset: str) -> tuple[str, ...] | str:  # noqa: ARG002 - for subclasses
        """Names of registered data sets whose files it reads itself, beside the suite's data set ``dataset`` and those
        of ``needs``; or why there is none for this data set, as cells print it. If files are missing, all of its
        numbers are n/a.
        """
        return ()

    def missing(self, weights_root: Path) -> str | None:  # noqa: ARG002 - for subclasses
        """Which file (foreign weights) is missing on this machine and where to put it, or None."""
        return None

    def checksums(self, weights_root: Path) -> tuple[Checksum, ...]:  # noqa: ARG002 - for subclasses
        """The foreign files that it reads and that exist here, with their published checksums."""
        return ()

    def others(self, config: Any) -> tuple[str, ...]:
        """Names of the other models of the suite that the evaluation reads: those in ``model_fields``."""
        values = [getattr(config, name) for name in self.model_fields]
        names = [name for value in values for name in ([value] if isinstance(value, str) else value)]
        return tuple(dict.fromkeys(names))

    def of_itself(self, config: Any) -> str | None:  # noqa: ARG002 - for subclasses
        """Why the evaluation has no meaning if the other model is the measured one, or None if it has."""
        return None

    def uses(self, config: Any) -> tuple[Used, ...]:  # noqa: ARG002 - for subclasses
        """Plug-ins of others, beside itself, whose code decides its numbers and is therefore in the key."""
        return ()

    def judge(self, config: Any) -> Judge | None:  # noqa: ARG002 - for subclasses
        """The independent classifier that the evaluation needs, if it needs one."""
        return None

    def feature_network(self, config: Any) -> Mapping[str, Any] | None:  # noqa: ARG002 - for subclasses
        """What identifies the network, and the way of images into it, in whose features the evaluation measures real
        images through `bench.evaluate.real_features`; the judge identifies itself. None if it measures none.
        """
        return None

    def without_samples(self, config: Any, reason: str) -> Outcome:
        """An outcome without values, for a model that can generate but was stored without its buffer."""
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
