"""Descriptions of model families and backbones for planning, without torch.

A spec names its implementation as ``"module:Class"``; only workers import it. So ``list``, ``describe``,
``check``, ``plan`` and ``table`` start quickly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from bench.keys import canonical
from bench.optimizer import SHORT, Optimizer, OptimizerConfig, Schedule
from bench.registry import Registry, UnknownNameError, when_asked

__all__ = [
    "BACKBONES",
    "FAMILIES",
    "BackboneSpec",
    "Config",
    "FamilySpec",
    "GuardConfig",
    "Setting",
    "Task",
    "TrainingConfig",
    "UnlabelledConfig",
    "settings",
]


class Config(BaseModel):
    """Base of everything that a suite may set: unknown keys are errors, values are finite and not coerced, instances
    frozen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    later: ClassVar[frozenset[str]] = frozenset()
    """Fields that later versions added. They are not written while they have their default, so that keys and records of
    results are those of the versions before.
    """

    removed: ClassVar[Mapping[str, Any]] = {}
    """Fields that earlier versions had, with the values that mean what is done now. They are written with these values,
    and read if they have them, for the same reason. A subclass may have a field of its own with such a name.
    """

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> Self:
        """The configuration that a job or a record holds as JSON values.

        Raises:
            pydantic.ValidationError: It is none.
        """
        gone = {name: value for name, value in cls.removed.items() if name not in cls.model_fields}
        left = {name: value for name, value in facts.items() if name not in gone or value != gone[name]}
        return cls.model_validate_json(canonical(left))

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = {**self.removed, **handler(self)}
        # Every base adds its own.
        later = frozenset[str]().union(*(base.later for base in type(self).__mro__ if issubclass(base, Config)))
        for name in later & values.keys():
            if getattr(self, name) == type(self).model_fields[name].default:
                del values[name]
        return values


class GuardConfig(Config):
    """``[model.guard]``: when training counts as diverged, and what is tried before giving up."""

    loss_limit: PositiveFloat = Field(
        1e8, description="|loss| beyond which training has diverged", json_schema_extra={"code": "1e8; misses NaN"}
    )
    gap_limit: PositiveFloat = Field(1e4, description="|fp - fq| that may not last")
    gap_patience: PositiveInt = Field(20, description="Iterations that |fp - fq| may stay above gap_limit")
    early_gap: PositiveFloat = Field(100.0, description="Early signal: |fp - fq| above this …")
    early_ratio: PositiveFloat = Field(20.0, description="… and above this multiple of its running median")
    early_patience: PositiveInt = Field(10, description="Iterations of the early signal that trip")
    arm_after: NonNegativeInt = Field(
        100, description="Iterations with samples before the early signal is armed: after a switch the gap is large"
    )
    restarts: NonNegativeInt = Field(
        5,
        description="Restarts from the last good epoch before giving up",
        json_schema_extra={"paper": "restarts by hand are not reported", "code": "none"},
    )
    ladder: tuple[Literal["seed", "steps", "step-size", "lr"], ...] = Field(
        ("seed", "steps", "step-size", "lr"),
        min_length=1,
        description="What each further trip within the window adds: a new seed, sampler steps x 2 (at most 80), "
        "sampler step size / 4, learning rate x 0.5; the last is repeated",
    )
    window: PositiveInt = Field(5, description="Epochs after which a further trip starts at the foot of the ladder")


class TrainingConfig(Config):
    """Hyper-parameters that every family has; the harness's one training loop reads them.

    Defaults are the column "choice" of the protocol (docs/protocol.md). ``paper`` and ``code`` in the schema extras
    say what the GMMC paper states and what released code does where they differ from the default or are silent.
    """

    later: ClassVar[frozenset[str]] = frozenset({"schedule", "final_lr", "clip", "average", "cudnn"})
    removed: ClassVar[Mapping[str, Any]] = {"compile": False}

    epochs: PositiveInt = Field(150, description="Passes over the training set", json_schema_extra={"paper": "150"})
    batch_size: PositiveInt = Field(64, description="Items in a batch of each stream", json_schema_extra={"code": "64"})
    optimizer: Optimizer = Field(
        default_factory=OptimizerConfig, description="Optimiser: 'adam', 'adamw' or 'sgd', or a table with its settings"
    )
    lr: PositiveFloat = Field(1e-4, description="Initial learning rate", json_schema_extra={"paper": "1e-4"})
    warmup: NonNegativeInt = Field(
        1000,
        description="Iterations of linear warm-up: lr * i / warmup at iteration i, so iteration 0 changes nothing",
        json_schema_extra={"paper": "not stated", "code": "1000", "why": "released code of both papers"},
    )
    decay_epochs: tuple[NonNegativeInt, ...] = Field(
        (30, 50, 80),
        description="Epochs (from 0) at whose start the learning rate is multiplied by decay_rate",
        json_schema_extra={"paper": "30, 50, 80 (CIFAR10, SVHN); 120, 140 (CIFAR100)"},
    )
    decay_rate: PositiveFloat = Field(0.3, description="Factor of each decay", json_schema_extra={"paper": "0.3"})
    schedule: Schedule = Field(
        "step",
        description="Learning rate after the warm-up: step (decay_epochs, decay_rate), cosine (to final_lr after the "
        "last epoch) or constant",
        json_schema_extra={"paper": "step"},
    )
    final_lr: NonNegativeFloat = Field(0.0, description="Learning rate at the end of a cosine schedule")
    clip: PositiveFloat | None = Field(
        None,
        description="Largest L2 norm of the gradient over all parameters; a longer gradient is scaled to it. "
        "Default: none is",
    )
    average: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of an exponential moving average of weights. The averaged weights are validated, selected "
        "and evaluated in place of those of the last update. Default: no average",
    )
    sigma: NonNegativeFloat = Field(
        0.03,
        description="Standard deviation of the Gaussian noise added to training images, in units of the [-1, 1] scale",
        json_schema_extra={
            "paper": "not stated",
            "code": "0.03",
            "why": "both codes train with it; evaluation uses none for any family (JEM's code evaluates with 0.03)",
        },
    )
    augment: bool = Field(True, description="Use the data set's augmentation (reflect-pad, crop, flip), if it has one")
    select: Literal["best-validation", "last"] = Field(
        "best-validation",
        description="Which epoch's weights are kept; validation accuracy decides, the later epoch wins a tie",
        json_schema_extra={
            "paper": "not stated",
            "code": "best validation accuracy",
            "why": "never select on test; one file for all metrics and its buffer for samples",
        },
    )
    log_iterations: NonNegativeInt = Field(
        0, description="Keep the scalars of so many first iterations, taken before each update (Table 10)"
    )
    guard: GuardConfig = Field(default_factory=GuardConfig, description="Divergence")
    precision: Literal["float32", "tf32", "bf16"] = Field(
        "float32",
        description="Arithmetic of training steps. tf32 shortens the mantissa of matrix products on GPUs that have it "
        "and changes nothing elsewhere; bf16 runs the backbone (update and sampler) under bfloat16 autocast, all else "
        "in float32. Validation, scores, gradients and verdicts of attacks are always float32",
        json_schema_extra={
            "paper": "not stated",
            "why": "every device has it; bf16 took a little more than half the time on a CPU with bfloat16 "
            "instructions and 12 times as long on one without (benchmarks/README.md)",
        },
    )
    cudnn: Literal["deterministic", "benchmark"] = Field(
        "deterministic",
        description="Kernels of training steps on an NVIDIA GPU. deterministic: training that goes on after an "
        "interruption has the bits of one without, as far as cuDNN decides; benchmark: the fastest for each shape, "
        "found by timing, so that two runs differ. It changes nothing elsewhere",
        json_schema_extra={"paper": "not stated", "why": "a number can be made again"},
    )

    @model_validator(mode="after")
    def _ends_above(self) -> TrainingConfig:
        if self.final_lr and self.schedule != "cosine":
            raise ValueError(f"final_lr is the end of schedule = 'cosine'; the schedule is {self.schedule!r}")
        if self.final_lr > self.lr:
            raise ValueError(f"final_lr = {self.final_lr:g} is above lr = {self.lr:g}")
        return self

    @field_validator("optimizer", mode="before")
    @classmethod
    def _completed(cls, value: Any) -> Any:
        """A table without ``kind`` changes the optimiser that the family has by default."""
        if not isinstance(value, dict) or "kind" in value:
            return value
        default = cls.model_fields["optimizer"].get_default(call_default_factory=True)
        return {**default.model_dump(), **value}

    @field_serializer("optimizer", mode="wrap")
    def _optimizer(self, value: OptimizerConfig, handler: SerializerFunctionWrapHandler) -> Any:
        """The default as the word that it was before there were others."""
        return SHORT if value == OptimizerConfig() else handler(value)


class UnlabelledConfig(TrainingConfig):
    """Hyper-parameters of a family that does not classify, so that no validation accuracy can select an epoch."""

    select: Literal["last"] = Field("last", description="Which epoch's weights are kept: nothing is validated")


ConfigT = TypeVar("ConfigT", bound=TrainingConfig)


def _located(path: str, folder: Path) -> Path:
    with contextlib.suppress(RuntimeError):  # the home folder of an unknown user
        return folder.absolute() / Path(path).expanduser()
    return folder.absolute() / path


@dataclass(frozen=True, kw_only=True)
class Task:
    """The classification task of a model, as far as it is known before anything is loaded.

    Attributes:
        num_classes: K.
        image_shape: (C, H, W).
        train: Number of training items without validation items; None if not known.
        features: Dimension d of the backbone's features; None if not known.
    """

    num_classes: int
    image_shape: tuple[int, int, int]
    train: int | None = None
    features: int | None = None

    def with_features(self, features: int | None) -> Task:
        """The task with another dimension of the features."""
        return replace(self, features=features)


PRESETS_OF_ALL: Mapping[str, Mapping[str, Any]] = {"fast": {"precision": "tf32", "cudnn": "benchmark"}}
"""Presets of every family. ``fast``: training in the arithmetic of tensor cores, with the fastest kernels."""


@dataclass(frozen=True, kw_only=True)
class FamilySpec:
    """A way to build and train a model, described without importing torch.

    Attributes:
        name: Registered name, such as ``"gmmc-gen"``.
        label: Its name in tables, such as ``"GMMC (Gen)"``.
        summary: One sentence.
        source: Paper, equation or section that defines it.
        config: Pydantic schema of the hyper-parameters with their defaults.
        implementation: ``"module:Class"`` of a ``bench.family.Family``.
        version: Raised by hand when a change of code changes a number. None: digests of the implementation's
            source (``bench.plugins.sources``) enter the key, so that results of older code are never reused.
        classifies: Whether its models classify. If not, it builds a ``bench.family.Model``, and numbers that need
            classes are n/a. The schema of such a family sets ``select`` to ``"last"``, as ``UnlabelledConfig`` does.
        capabilities: Any of ``"density"`` (log_density means something, up to a constant), ``"likelihood"`` (it is
            exact, in nats, which includes ``"density"``) and ``"samples"`` (can generate).
        readouts: Names of the ways to turn features into class probabilities; the first is the default.
        presets: Named bundles of hyper-parameters, beside those that all families have (``PRESETS_OF_ALL``).
        paper: The paper's hyper-parameters for the family (dotted keys), to report a run's deviations from them.
        paper_on: Values that differ from ``paper`` on a data set of the paper, by data set.
        paper_family: The family to which ``paper`` belongs, if it was copied from the spec of another family; then
            nothing is compared. None: this family.
        released: Values of the authors' code for settings that their paper does not state.
        passes: Forward passes (a backward counts as one towards inputs, two towards weights) that one training
            item costs in one epoch, given the resolved configuration. Items of an incomplete last batch cost nothing.
        identity: Further facts that identify a configuration, such as the content of files that it names; they
            enter keys.
        training_only: Dotted keys of the family's own hyper-parameters that only training reads, such as
            ``"sampler.buffer"``. Beside imported weights they are mistakes, as those of ``TrainingConfig`` are.
        paths: Keys of the configuration that name files. Relative paths start at the suite's folder. ``identity``,
            ``problems`` and the family itself get absolute paths; keys of jobs contain them as written.
        problems: (configuration, backbone name) -> mistakes that a quick check of files finds, each as
            (key, message, hint), such as a file that does not exist. Every reader of a suite calls it, so it must not
            import anything heavy.
        warn: (configuration, backbone name) -> warnings to show before a run.
        unfit: (configuration, task) -> reasons why the family cannot run on the task, by dotted key of the model, such
            as ``{"sampler.buffer": "…"}``; ``backbone`` is a valid key, too. ``bench check`` reports them at that key,
            before any worker starts.
        layout: configuration -> a description of a model's parameters. A model can start from another (``init_from``)
            if their backbones and layouts are equal. None: not known, and not checked.
        needs_backbone: Whether a suite has to name a backbone.
        importers: Formats of foreign checkpoints that ``bench import`` reads for the family, by name: each is the
            ``"module:function"`` of (content, feature dimension, K) -> ``bench.family.Imported``.
    """

    name: str
    label: str
    summary: str
    source: str
    config: type[TrainingConfig]
    implementation: str
    version: int | None = None
    classifies: bool = True
    capabilities: frozenset[str] = frozenset()
    readouts: tuple[str, ...] = ("native",)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paper: Mapping[str, Any] = field(default_factory=dict)
    paper_on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paper_family: str | None = None
    released: Mapping[str, Any] = field(default_factory=dict)
    passes: Callable[[Any], float] = field(default=lambda _: 3.0)
    identity: Callable[[Any], Mapping[str, Any]] | None = None
    training_only: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()
    problems: Callable[[Any, str], Iterable[tuple[str, str, str]]] = field(default=lambda _config, _backbone: ())
    warn: Callable[[Any, str], tuple[str, ...]] = field(default=lambda _config, _backbone: ())
    unfit: Callable[[Any, Task], Mapping[str, str]] = field(default=lambda _config, _task: {})
    layout: Callable[[Any], str] | None = None
    needs_backbone: bool = True
    importers: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_presets(self) -> Mapping[str, Mapping[str, Any]]:
        """Its presets and those of every family; its own come first if names are equal."""
        return {**PRESETS_OF_ALL, **self.presets}

    @property
    def can(self) -> frozenset[str]:
        """The capabilities with those that they include, and ``"classes"`` if its models classify."""
        found = set(self.capabilities)
        if "likelihood" in found:
            found.add("density")
        return frozenset(found | {"classes"} if self.classifies else found)

    def located(self, config: ConfigT, folder: Path) -> ConfigT:
        """The configuration with its ``paths`` absolute.

        Args:
            config: The configuration in the suite.
            folder: The suite's folder.
        """
        given = {key: getattr(config, key) for key in self.paths if getattr(config, key) is not None}
        return config.model_copy(update={key: str(_located(path, folder)) for key, path in given.items()})


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A feature extractor phi(x), or a pattern of them.

    Attributes:
        name: Registered name of the pattern, such as ``"wrn"``; or the full name after a pattern was matched.
        pattern: Form of the names, for users: ``"wrn-<depth>-<width>"``.
        summary: One sentence.
        source: Paper or protocol section.
        implementation: ``"module:function"``: (name, in_channels) -> ``nn.Module`` with ``feature_dim``.
        parse: Raises ValueError if a name does not fit the pattern.
        describe: (name, image_shape) -> facts such as parameters, feature dimension and multiply-adds.
        examples: Some names, for suggestions.
        version: As for families.
        draws: Whether the network of a name draws from the process's generators in training, as dropout does; its keys
            then contain the version of the harness's seeding.
        like: (name, other name) -> the network ``name`` with the options of the other one, such as ``wrn-10-1-batch``
            for ``wrn-10-1`` and ``wrn-28-10-batch``; profiles use it to shrink networks. None: names have no options.
    """

    name: str
    pattern: str
    summary: str
    source: str
    implementation: str
    parse: Callable[[str], object]
    describe: Callable[[str, tuple[int, int, int]], Mapping[str, float]]
    examples: tuple[str, ...] = ()
    version: int | None = None
    draws: Callable[[str], bool] = field(default=lambda _: False)
    like: Callable[[str, str], str] | None = None


def _match_backbone(spec: BackboneSpec, name: str) -> BackboneSpec | None:
    try:
        spec.parse(name)
    except ValueError:
        return None
    except Exception as error:  # a plug-in may raise anything
        reason = (
            f"backbone {spec.name!r}: parse({name!r}) raises {type(error).__name__}: {error}, expected a ValueError"
        )
        raise UnknownNameError("backbone", name, reason, "") from error
    return replace(spec, name=name)


FAMILIES: Registry[FamilySpec] = Registry(
    "family",
    "families",
    FamilySpec,
    "bench.families",
    builtin=when_asked("bench.weights.catalogue:FAMILIES"),
    problems=when_asked("bench.plugins.descriptions:family_problems"),
)
BACKBONES: Registry[BackboneSpec] = Registry(
    "backbone",
    "backbones",
    BackboneSpec,
    "bench.backbones",
    builtin=when_asked("bench.weights.catalogue:BACKBONES"),
    match=_match_backbone,
    problems=when_asked("bench.plugins.descriptions:backbone_problems"),
)


@dataclass(frozen=True)
class Setting:
    """One hyper-parameter, for ``describe`` and for lists of deviations."""

    key: str
    type: str
    default: Any
    description: str
    paper: str
    code: str
    why: str


def _type_text(annotation: Any) -> str:
    """A type in the terms of TOML: ``list of int``, ``"staged" or "inject"``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_text(arguments[0])
    if origin is Literal:
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in arguments)
    if origin is tuple:
        return f"list of {_type_text(arguments[0])}"
    if arguments and type(None) in arguments:
        return " or ".join(_type_text(argument) for argument in arguments if argument is not type(None)) + ", or none"
    return str(getattr(annotation, "__name__", annotation))


def settings(config: type[BaseModel], prefix: str = "", given: BaseModel | None = None) -> list[Setting]:
    """Every hyper-parameter of a schema, nested tables as dotted keys, in order of definition.

    Args:
        config: The schema.
        prefix: Put before each key.
        given: The default of a nested table where that has other values than the table's own defaults.
    """
    found: list[Setting] = []
    for name, info in config.model_fields.items():
        annotation = info.annotation
        default = info.get_default(call_default_factory=True) if not info.is_required() else "required"
        default = getattr(given, name, default)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.extend(settings(annotation, f"{prefix}{name}.", default if isinstance(default, BaseModel) else None))
            continue
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        found.append(
            Setting(
                key=f"{prefix}{name}",
                type=_type_text(annotation),
                default=default,
                description=info.description or "",
                paper=str(extra.get("paper", "")),
                code=str(extra.get("code", "")),
                why=str(extra.get("why", "")),
            )
        )
    return found
