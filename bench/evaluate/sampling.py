"""What evaluations of generated images share: which images are measured, by which metrics, and how it is said.

This module is light; samples are selected in `bench.evaluate.samples` and measured in `bench.evaluate.sample_measures`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bench.evaluate.base import Column, Direction, Evaluation, EvaluationConfig
from bench.spec import FamilySpec

__all__ = ["CONTROLS", "DRAWN", "SampleEvaluation", "SampleMetric", "SamplingConfig", "Selection"]

Selection = Literal["buffer-top-k-per-class", "buffer-all", "buffer-random-n", "fresh-k-steps", "buffer-or-fresh"]
"""Names of selections; see `SamplingConfig.made`."""

DRAWN = "means over draws of n images, stratified by class"
"""Text of definitions on how sets of unequal size are compared; see `bench.evaluate.image_sets`."""

CONTROLS = {"real": "held-out test images, in the class shares of training", "noise": "uniform noise"}
"""Images that replace samples, by argument of a control."""


class SamplingConfig(EvaluationConfig):
    """Which images are measured, and the parameters of metrics that do not depend on the feature network."""

    source: Literal["buffer", "fresh"] | None = Field(
        None, description="Short for the selection buffer-random-n or fresh-k-steps; default: buffer"
    )
    selection: Selection | None = Field(
        None,
        description="The images: of each predicted class the most confident ones of the buffer, as in the paper; all "
        "of the buffer; a random part of it; fresh chains; or a random part of the buffer of a model that has one and "
        "fresh samples of others. Slots of the buffer that are still noise never count. "
        "Default: as source says",
    )
    items: PositiveInt = Field(
        10_000,
        description="Generated images, at most, of the selections buffer-random-n, fresh-k-steps and buffer-or-fresh",
    )
    per_class: PositiveInt = Field(
        9_000,
        description="k of buffer-top-k-per-class; a class with fewer images gives all that it has",
        json_schema_extra={"code": "9000 of a buffer of 100,000"},
    )
    steps: PositiveInt | None = Field(None, description="k of fresh-k-steps, sampler steps; default: as in training")
    neighbour: PositiveInt = Field(5, description="k of the balls of precision, recall, density and coverage")
    nearest: Literal["pixels", "features"] = Field(
        "pixels", description="Space of the distances to the nearest training image"
    )
    infinity: bool = Field(False, description="Also extrapolate the Fréchet distance to infinitely many samples")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if None not in (self.source, self.selection) and not str(self.selection).startswith(f"{self.source}-"):
            raise ValueError(f"source {self.source!r} and selection {self.selection!r} contradict each other")
        return self

    @property
    def chosen(self) -> Selection:
        """The selection that holds."""
        return self.selection or ("fresh-k-steps" if self.source == "fresh" else "buffer-random-n")

    @property
    def fresh(self) -> bool:
        """Whether new chains are made, rather than the buffer read."""
        return self.chosen == "fresh-k-steps"

    @property
    def made(self) -> str:
        """The selection and the number of images, for definitions."""
        match self.chosen:
            case "buffer-top-k-per-class":
                how = f"replay buffer, age > 0, the {self.per_class} most confident of each predicted class"
            case "buffer-all":
                how = "replay buffer, age > 0, all"
            case "buffer-random-n":
                how = f"replay buffer, age > 0, no selection, at most {self.items} images"
            case "buffer-or-fresh":
                steps = f", {self.steps} steps" if self.steps is not None else ""
                how = (
                    f"replay buffer, age > 0, no selection, or fresh samples{steps} of a model without a buffer, "
                    f"at most {self.items} images"
                )
            case _:
                steps = f", {self.steps} steps" if self.steps is not None else ""
                how = f"fresh chains{steps}, at most {self.items} images"
        return f"{self.chosen}: {how}"


@dataclass(frozen=True)
class SampleMetric:
    """A number of a set of images.

    Attributes:
        what: What is measured; see `bench.evaluate.sample_measures`.
        name: Name of the column.
        label: Heading.
        direction: As of a column.
        definition: Text of the definition, with ``{what}`` in the place of the measured images, and ``{made}`` where it
            says how samples are made.
        unit: As of a column.
        within: Smallest and largest value.
    """

    what: str
    name: str
    label: str
    direction: Direction | None
    definition: str
    unit: str = "1"
    within: tuple[float, float] = (0.0, math.inf)

    def defined(self, argument: str, made: str) -> str:
        """The definition for samples that are made in a way, or for a control."""
        text = self.definition.replace("{what}", CONTROLS.get(argument, "samples"))
        return text.replace("{made}", "" if argument else f"; {made}")


class SampleEvaluation(Evaluation):
    """Measures samples and controls in the features of one network, against the training images.

    Subclasses say which metrics they emit under which names, and which network it is.
    """

    classifies = False
    requires = frozenset({"samples"})
    reads_model = True
    least_items = 2  # a covariance

    def metrics(self, config: Any) -> tuple[SampleMetric, ...]:
        """The metrics, the primary one first."""
        raise NotImplementedError

    def columns(self, config: Any) -> tuple[Column, ...]:
        """Every metric of samples, of held-out real images and of noise."""
        return tuple(_columns(self.metrics(config), config.made))

    def passes(self, config: Any, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """The passes of sampling; those of the feature network are not counted, because they do not depend on the
        backbone.
        """
        steps = config.steps if config.steps is not None else 20
        return float(config.items * (1.0 + (2.0 * steps if config.fresh else 0.0)))


def neighbour_metrics(
    config: SamplingConfig, features: str, names: Mapping[str, str], reference: str
) -> tuple[SampleMetric, ...]:
    """Precision, recall, density and coverage, and the distance to the nearest training image.

    Args:
        config: The parameters.
        features: Name of the features in definitions.
        names: Column names of the four by what they measure.
        reference: Name of the real images in definitions.
    """
    balls = (
        f"k={config.neighbour}, inside if closer than the radius, {features}, {{what}} against equally many of "
        f"{reference}, one draw of n images{{made}}"
    )
    four = [
        SampleMetric(what, names[what], label, direction, f"{names[what]}[{balls}]", unit, within)
        for what, label, direction, unit, within in _FOUR
    ]
    space = "L2 of pixels in [0, 1]" if config.nearest == "pixels" else f"L2 of {features}"
    nearest = SampleMetric(
        "nearest",
        "nearest",
        "nearest training image",
        None,
        f"median {space} from {{what}} to the nearest training image{{made}}",
        "l2" if config.nearest == "pixels" else "1",
    )
    return (*four, nearest)


_FOUR: Sequence[tuple[str, str, Direction | None, str, tuple[float, float]]] = (
    ("precision", "precision", "up", "fraction", (0.0, 1.0)),
    ("recall", "recall", "up", "fraction", (0.0, 1.0)),
    # Above 1 samples crowd where real images are dense: more is not better.
    ("density", "density", None, "1", (0.0, math.inf)),
    ("coverage", "coverage", "up", "fraction", (0.0, 1.0)),
)


def _columns(metrics: Sequence[SampleMetric], made: str) -> Iterator[Column]:
    headings = {"": "", "real": " of test images", "noise": " of noise"}
    for place, metric in enumerate(metrics):
        for argument, heading in headings.items():
            yield Column(
                metric=metric.name,
                argument=argument,
                label=metric.label + heading,
                unit=metric.unit,
                direction=None if argument else metric.direction,
                definition=metric.defined(argument, made),
                primary=place == 0,
                within=metric.within,
                controls=() if argument else tuple(CONTROLS),
            )
