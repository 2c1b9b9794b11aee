"""The schema of suite and profile files, and the resolved suite that later stages read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PlainValidator,
    PositiveInt,
    WithJsonSchema,
)

from bench.data.registry import DATASETS, own_path
from bench.data.spec import LARGEST_SIDE, DatasetSpec
from bench.evaluate.base import Column, Evaluation, EvaluationConfig
from bench.plugins.sources import uncovered
from bench.spec import BackboneSpec, Config, FamilySpec, TrainingConfig
from bench.weights.module_spec import ModuleConfig
from bench.weights.samples_spec import SamplesConfig

__all__ = [
    "BlockEntry",
    "Caps",
    "ColumnEntry",
    "DataSection",
    "EvaluationEntry",
    "FigureEntry",
    "ModelEntry",
    "ProfileFile",
    "ResolvedColumn",
    "ResolvedEvaluation",
    "ResolvedFigure",
    "ResolvedModel",
    "ResolvedTable",
    "RowGroupEntry",
    "Substitutes",
    "Suite",
    "SuiteHeader",
    "TableEntry",
    "models_by_name",
]


NAME = r"^[a-z0-9][a-z0-9-]*$"
LONGEST = 100
"""Largest number of characters of a name: names become parts of file names."""


def _possible(name: str) -> str:
    """The name itself. Raises ValueError if no file can have this name."""
    if len(os.fsencode(name)) > 4095 or any(len(os.fsencode(part)) > 255 for part in name.split("/")):
        raise ValueError("no file can have a name of this length")
    return name


FileName = Annotated[str, AfterValidator(_possible)]
"""A name or path that may be used as a file name."""


class SuiteHeader(Config):
    """``[suite]``."""

    name: str = Field(pattern=NAME, max_length=LONGEST, description="Name in commands and file names")
    title: str = Field("", description="Title of the report")
    paper: str = Field("", description="The tables and figures of a paper that the suite reproduces")
    include: tuple[FileName, ...] = Field(
        (), description="Other suites, by bare name or path, that this one consists of; it then has no other section"
    )


Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
"""Height or width of images, in pixels."""


class DataSection(Config):
    """``[data]``: the in-distribution data set and how it is split."""

    dataset: Annotated[
        FileName,
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
    ] = Field(
        description="A registered data set, 'module:SPEC', an .npz file or a folder of images; or a list of them, on "
        "each of which every model is trained and measured"
    )
    seed: NonNegativeInt = Field(0, description="Data seed: splits and subsets, shared by all models")
    validation: PositiveInt | None = Field(None, description="Validation items; default: the data set's")
    train: PositiveInt | None = Field(None, description="Bound on training items; default: all")
    resize: tuple[Side, Side] | None = Field(
        None,
        description="Height and width to which the images are brought, without regard to their aspect ratio; "
        "default: as they are",
    )


class _Open(BaseModel):
    """An entry whose further keys belong to a plug-in's own schema."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class ModelEntry(_Open):
    """``[[model]]``: keys beyond these are hyper-parameters of the family."""

    family: str = Field(description="A registered family, or 'module:spec'")
    backbone: str = Field("none", description="A registered backbone, such as wrn-28-10")
    label: str | None = Field(None, min_length=1, max_length=200, description="Name in tables; default: the family's")
    name: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9.-]*$",
        max_length=LONGEST,
        description="Name in job ids; default: the family's",
    )
    seeds: tuple[NonNegativeInt, ...] = Field((1,), min_length=1, description="One training run per seed")
    preset: str | None = Field(None, description="A named bundle of hyper-parameters of the family")
    init_from: str | None = Field(
        None, description="Another model of the suite to start from; it is trained once and shared"
    )
    on: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, description="[model.on.<data set>]: other values on one of several data sets"
    )
    weights: FileName | None = Field(
        None, description="Weights to evaluate without training: a name given to `bench import`, or a .safetensors file"
    )
    install: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="The command that installs the package of the family, such as 'pip install my-flows'. Where the "
        "family is absent, the cells of the model are n/a and name it; without this key that is an error",
    )


class EvaluationEntry(_Open):
    """``[[evaluation]]``: keys beyond these are parameters of the protocol."""

    kind: str = Field(description="A registered evaluation")
    on: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, description="[evaluation.on.<data set>]: other values on one of several data sets"
    )
    id: str | None = Field(
        None, pattern=NAME, max_length=LONGEST, description="Name in columns and job ids; default: the kind"
    )


class ColumnEntry(Config):
    """A column, by its name or with a heading of one's own."""

    column: str = Field(description="[<data set>/]<evaluation id>[.<metric>][@<argument>]")
    label: str | None = Field(None, min_length=1, max_length=200, description="Heading of the column")
    group: str | None = Field(None, max_length=200, description="Heading over neighbouring columns of one group")


def _column_entry(value: Any) -> ColumnEntry:
    """An entry of ``columns``. Raises ValueError if it is neither a name nor a table."""
    if isinstance(value, str):
        return ColumnEntry(column=value)
    if not isinstance(value, Mapping):
        raise ValueError("expected the name of a column in quotes, or a table with column, label and group")
    return ColumnEntry.model_validate(value)


Columns = Annotated[
    tuple[
        Annotated[
            ColumnEntry,
            PlainValidator(_column_entry),
            WithJsonSchema(
                {
                    "anyOf": [
                        {"type": "string"},
                        {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["column"],
                            "properties": {name: {"type": "string"} for name in ("column", "label", "group")},
                        },
                    ]
                }
            ),
        ],
        ...,
    ],
    Field(min_length=1),
]
"""Columns by name, or with a heading of one's own."""


class BlockEntry(Config):
    """Columns that stand below those of the block before, under the same headings."""

    title: str = Field(min_length=1, max_length=200, description="Heading of the block")
    columns: Columns = Field(description="As many columns as each other block has")


class RowGroupEntry(Config):
    """Rows that stand together below a heading."""

    title: str = Field(min_length=1, max_length=200, description="Heading; quoted rows of this group join it")
    models: tuple[str, ...] = Field((), description="Its models, by name or label")


class TableEntry(Config):
    """``[[table]]``."""

    id: str = Field(pattern=NAME, max_length=LONGEST, description="Name in commands and file names")
    title: str = Field("", description="Caption")
    columns: Columns | None = Field(
        None, min_length=1, description="<evaluation id>[.<metric>][@<argument>], or a table with column, label, group"
    )
    blocks: tuple[BlockEntry, ...] | None = Field(
        None, min_length=2, description="In place of columns: blocks of as many columns each, one below the other"
    )
    settings: tuple[str, ...] | None = Field(
        None, min_length=1, description="In place of columns: hyper-parameters, such as sampler.steps"
    )
    models: tuple[str, ...] | None = Field(None, description="Rows, by name or label; default: all models")
    groups: tuple[RowGroupEntry, ...] = Field((), description="Groups of rows; a model is in one of them or in none")
    transpose: bool = Field(False, description="Models from left to right, columns from top to bottom")
    differences: bool = Field(
        False, description="Add the differences of measured to quoted numbers of the same family and data set"
    )
    literature: tuple[str, ...] = Field(
        (), description="Sources in results/literature, or tables of them: gmmc-2021/Table 5"
    )
    note: str = Field("", description="Printed below the table")


class FigureEntry(Config):
    """Keys of every ``[[figure]]``; `bench.suite.figures` has the keys of each kind.

    Class attributes:
        reads: Name of the evaluation whose stored arrays the figure draws; empty if it reads none.
    """

    reads: ClassVar[str] = ""

    id: str = Field(pattern=NAME, max_length=LONGEST, description="Name in commands and file names")
    kind: str = Field(description="What is drawn")
    on: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, description="[figure.on.<data set>]: other values on one of several data sets"
    )
    title: str = Field("", description="Title of the figure; default: the id")
    models: tuple[str, ...] | None = Field(
        None, min_length=1, description="Models, by name or label; default: all models"
    )
    evaluation: str | None = Field(
        None, description="Id of the evaluation that is drawn; default: the first of the kind that the figure draws"
    )


class Caps(Config):
    """``[caps]`` of a profile: upper bounds."""

    train: PositiveInt | None = Field(None, description="Training items")
    validation: PositiveInt | None = Field(None, description="Validation items")
    items: PositiveInt | None = Field(None, description="Test items, attacked items and out-of-distribution items")
    seeds: PositiveInt | None = Field(None, description="Seeds of each model")
    epochs: PositiveInt | None = Field(None, description="Epochs of each model")


class ProfileHeader(Config):
    """``[profile]``."""

    name: str = Field(pattern=NAME, max_length=LONGEST)
    summary: str = ""


class Substitutes(Config):
    """``[substitute]`` of a profile."""

    data: Mapping[str, str] = Field(
        default_factory=dict, description="What takes the place of a suite's own data set, by the latter's name"
    )
    ood: Mapping[str, str | tuple[str, ...]] | None = Field(
        None,
        description="What takes the place of an out-of-distribution set: one name, or alternatives of which no two "
        "sets take the same; default: as data",
    )


class ProfileFile(Config):
    """A profile: an overlay that shrinks any suite without touching its structure."""

    profile: ProfileHeader
    substitute: Substitutes = Field(default_factory=Substitutes)
    data: Mapping[str, Any] = Field(default_factory=dict)
    model: Mapping[str, Any] = Field(default_factory=dict)
    evaluation: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    caps: Caps = Field(default_factory=Caps)


@dataclass(frozen=True)
class ResolvedModel:
    """A model of the suite with every hyper-parameter known.

    Attributes:
        absent: Why it can neither be trained nor measured here: its family is not installed.
    """

    name: str
    label: str
    family_name: str
    family: FamilySpec
    backbone_name: str
    backbone: BackboneSpec
    seeds: tuple[int, ...]
    config: TrainingConfig
    init_from: str | None = None
    weights: str | None = None
    absent: str | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings to show before the model runs, each with the model's label."""
        texts = self.family.warn(self.config, self.backbone.name)
        if self.weights is not None:
            told = (
                f"weights {self.weights!r} were not trained here: with another split than theirs, test images may have "
                "been among their training images"
            )
            texts = (*texts, told)
        return tuple(f"{self.label}: {text}" for text in texts)


@dataclass(frozen=True)
class ResolvedEvaluation:
    """An evaluation of the suite with every parameter known.

    Attributes:
        id: Its name in columns and jobs.
        evaluation: The protocol.
        config: Its parameters.
        kind: The name by which a worker finds the protocol, ``"module:attribute"`` if it is not registered.
    """

    id: str
    evaluation: Evaluation
    config: EvaluationConfig
    kind: str

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """All numbers that it can emit, and those that the report computes across rows."""
        return self.evaluation.columns(self.config)


@dataclass(frozen=True)
class ResolvedColumn:
    """A column of a table: a number of an evaluation.

    Attributes:
        id: Its name in the suite.
        evaluation: The evaluation.
        column: The number, with the heading that the table gives it.
        dataset: Name of its data set as the suite file has it; empty if the suite has only one.
        written: Its name as the suite file has it, which under a profile names other data sets.
    """

    id: str
    evaluation: ResolvedEvaluation
    column: Column
    dataset: str = ""
    written: str = ""


@dataclass(frozen=True)
class ResolvedTable:
    """A table of the suite.

    Attributes:
        columns: Its columns; empty in a table of settings.
        rows: Names of its models.
        blocks: Titles of its blocks with the indices of their columns; empty if it has none.
        settings: Names of the hyper-parameters that it shows in place of numbers.
        groups: Heading of the group of each model that has one, by name, in the order of the table.
        transposed: Whether models stand from left to right.
        differences: Whether it has rows with the differences to quoted numbers.
    """

    id: str
    title: str
    columns: tuple[ResolvedColumn, ...]
    rows: tuple[str, ...]
    literature: tuple[str, ...]
    note: str
    blocks: tuple[tuple[str, tuple[int, ...]], ...] = ()
    settings: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    transposed: bool = False
    differences: bool = False


@dataclass(frozen=True)
class ResolvedFigure:
    """A figure of the suite with every name resolved.

    Attributes:
        id: Its name in commands and file names.
        title: Its title.
        entry: Its options.
        models: The models that it shows.
        evaluation: Id of the evaluation whose arrays it draws; empty if it reads none.
    """

    id: str
    title: str
    entry: FigureEntry
    models: tuple[ResolvedModel, ...]
    evaluation: str = ""


@dataclass(frozen=True)
class Suite:
    """A suite after validation, with its profile applied.

    Attributes:
        name: The suite's name.
        path: The file that it was read from.
        profile: Name of the applied profile, or None.
        substitutions: Data sets that the profile put in place of others, as (original, substitute).
        rules: The rules of the suite's gate.
        baseline: Results folder of the gate's baseline, if the suite names it.
        original_dataset: The data set that the file names, before substitution.
        on: Of a part with one of several data sets: the data set, as the file names it; else empty.
        parts: The suites that it includes, or one suite for each of its data sets; empty if it has one data set. A
            suite of parts has the data set, models and evaluations of the first, and tables of its own only if its
            parts are data sets.
    """

    name: str
    title: str
    paper: str
    path: Path
    dataset: DatasetSpec
    data: DataSection
    models: tuple[ResolvedModel, ...]
    evaluations: tuple[ResolvedEvaluation, ...]
    tables: tuple[ResolvedTable, ...]
    figures: tuple[ResolvedFigure, ...] = ()
    rules: tuple[str, ...] = ()
    baseline: Path | None = None
    caps: Caps = field(default_factory=Caps)
    profile: str | None = None
    substitutions: tuple[tuple[str, str], ...] = ()
    original_dataset: str = ""
    on: str = ""
    parts: tuple[Suite, ...] = ()

    @property
    def leaves(self) -> list[Suite]:
        """The suites of one data set that it consists of: itself, or those of its parts."""
        return [leaf for part in self.parts for leaf in part.leaves] if self.parts else [self]

    @property
    def all_tables(self) -> list[ResolvedTable]:
        """The tables of the suite and of the suites that it includes."""
        return [*self.tables, *(table for part in self.parts for table in part.all_tables)]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings to show before the suite runs."""
        if self.parts:
            return tuple(dict.fromkeys(text for part in self.parts for text in part.warnings))
        found = [*self.dataset.warnings, *(text for model in self.models for text in model.warnings)]
        return tuple(dict.fromkeys([*found, *self._uncovered()]))

    def _uncovered(self) -> Iterator[str]:
        """Warnings about plug-ins without a version whose source digest does not cover all that they depend on."""
        registered = [DATASETS.get(name) for name in self._outside() if own_path(name, self.path.parent) is None]
        for spec in (self.dataset, *registered):
            yield from uncovered(f"data set {spec.name!r}", spec.version, spec.implementation)
        for model in self.models:
            family, backbone = model.family, model.backbone
            yield from uncovered(f"family {family.name!r}", family.version, family.implementation)
            yield from uncovered(f"backbone {backbone.name!r}", backbone.version, backbone.implementation)
            if isinstance(model.config, ModuleConfig | SamplesConfig) and model.config.callable is not None:
                yield from uncovered(f"model {model.label!r}", None, model.config.callable)
        for resolved in self.evaluations:
            evaluation = resolved.evaluation
            module = f"{type(evaluation).__module__}:_"
            yield from uncovered(f"evaluation {evaluation.name!r}", evaluation.version, module)
            for used in evaluation.uses(resolved.config):
                yield from uncovered(f"{used.kind} {used.name!r}", used.version, f"{used.module}:_")

    def _outside(self) -> Iterator[str]:
        """Names of the data sets that evaluations read."""
        for resolved in self.evaluations:
            for key in resolved.evaluation.dataset_fields:
                value = getattr(resolved.config, key)
                lists = value.values() if isinstance(value, Mapping) else [value]
                for names in lists:
                    yield from [names] if isinstance(names, str) else names or ()

    @property
    def reduced(self) -> bool:
        """Whether it trains on a part of its data or on resized images, so that published numbers do not compare."""
        return any(leaf.dataset.loaded_shape is not None or leaf._trains_on_a_part for leaf in self.leaves)

    @property
    def _trains_on_a_part(self) -> bool:
        held_out = self.data.validation or self.dataset.validation
        items = self.dataset.sizes.get("train")
        return self.data.train is not None and (items is None or self.data.train < items - held_out)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the in-distribution data set."""
        assert self.dataset.image_shape is not None  # checked when the suite was read
        return self.dataset.image_shape

    @property
    def num_classes(self) -> int:
        """K of the in-distribution data set."""
        assert self.dataset.num_classes is not None
        return self.dataset.num_classes


def models_by_name(models: Iterable[ResolvedModel]) -> dict[str, ResolvedModel]:
    """Models by each of the names that a person may use: label and name."""
    return {key: model for model in models for key in (model.label, model.name)}
