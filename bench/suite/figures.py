"""Figures of a suite: the schema of ``[[figure]]`` by kind, and their reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from bench.errors import did_you_mean
from bench.suite.locate import Path
from bench.suite.schema import FigureEntry, ResolvedEvaluation, ResolvedFigure
from bench.suite.section import ResultsReader

__all__ = [
    "DEFAULT_READOUT",
    "FIGURES",
    "FigureReader",
    "HistogramEntry",
    "LearningEntry",
    "ReliabilityEntry",
    "RiskCoverageEntry",
    "RocEntry",
    "SamplesEntry",
    "TSNEEntry",
]


DEFAULT_READOUT = "default"
"""The name of the read-out that a model uses unless another one is named."""

_Readouts = Annotated[
    tuple[str, ...], Field(min_length=1, description="Read-outs: default, fitted, or a named one such as paper")
]


class ReliabilityEntry(FigureEntry):
    """Reliability diagrams of the read-outs."""

    reads = "calibration"
    kind: Literal["reliability"]
    readouts: _Readouts = (DEFAULT_READOUT, "fitted")
    bins: PositiveInt | None = Field(None, description="Bins of the confidence; default: those of the evaluation")


class RiskCoverageEntry(FigureEntry):
    """Risk-coverage curves of the read-outs."""

    reads = "calibration"
    kind: Literal["risk-coverage"]
    readouts: _Readouts = (DEFAULT_READOUT,)


_Scores = Annotated[tuple[str, ...], Field(min_length=1, description="Scores of out-of-distribution detection")]
_Sets = Annotated[tuple[str, ...], Field(description="Out-of-distribution sets; default: all of the evaluation")]


class HistogramEntry(FigureEntry):
    """Histograms of out-of-distribution scores."""

    reads = "ood"
    kind: Literal["score-histograms"]
    scores: _Scores = ("log-density",)
    sets: _Sets = ()


class RocEntry(FigureEntry):
    """ROC curves of out-of-distribution scores."""

    reads = "ood"
    kind: Literal["roc"]
    scores: _Scores = ("log-density",)
    sets: _Sets = ()


class LearningEntry(FigureEntry):
    """Learning curves."""

    kind: Literal["learning"]
    quantities: tuple[str, ...] = Field(
        ("validation_accuracy", "loss"), min_length=1, description="Quantities that training logs at each epoch"
    )


class TSNEEntry(FigureEntry):
    """t-SNE of the features of test images."""

    kind: Literal["t-sne"]
    items: PositiveInt = Field(1_000, description="Number of test images, the first of the list")
    perplexity: float = Field(30.0, gt=1, le=1_000, description="Perplexity of t-SNE")
    neighbours: PositiveInt = Field(5, le=1_000, description="Neighbours of the purity")
    seed: NonNegativeInt = Field(0, description="Seed of t-SNE")


class SamplesEntry(FigureEntry):
    """Generated images of the models side by side."""

    reads = "generation"
    kind: Literal["samples"]
    selections: tuple[Literal["samples", "closest", "farthest"], ...] = Field(
        ("samples", "closest", "farthest"),
        min_length=1,
        description="Rows of the figure: all images, those closest to the center of their class, and those farthest "
        "from it; only models with class centers have the latter two",
    )


FIGURES: dict[str, type[FigureEntry]] = {
    "reliability": ReliabilityEntry,
    "risk-coverage": RiskCoverageEntry,
    "score-histograms": HistogramEntry,
    "roc": RocEntry,
    "learning": LearningEntry,
    "t-sne": TSNEEntry,
    "samples": SamplesEntry,
}
"""The schema of each kind of figure."""


@dataclass(kw_only=True)
class FigureReader(ResultsReader):
    """Reads ``[[figure]]`` entries.

    Attributes:
        tables: Ids of the tables: both give names to files of one folder.
    """

    tables: frozenset[str]

    def figures(self) -> list[ResolvedFigure]:
        """The figures without mistakes; mistakes in the others are reported."""
        return self.each("figure", self._figure)

    def _figure(self, raw: Mapping[str, Any], at: Path) -> ResolvedFigure | None:
        before = len(self.problems)
        kind = raw.get("kind")
        schema = FIGURES.get(kind, FigureEntry) if isinstance(kind, str) else FigureEntry
        if isinstance(kind, str) and kind not in FIGURES:
            self.complain((*at, "kind"), f"unknown kind of figure {kind!r}", did_you_mean(kind, FIGURES))
            return None
        entry = self.check(schema, raw, at)
        models = self.shown_models(raw, at)
        if entry is None:
            return None
        if entry.id in self.tables:
            self.complain((*at, "id"), f"a table has the id {entry.id!r}, too", "give one of them another")
        evaluation = self._evaluation(entry, at) if entry.reads else None
        entry = self._of_evaluation(entry, evaluation, at)
        if len(self.problems) > before or (entry.reads and evaluation is None):
            return None
        return ResolvedFigure(
            entry.id, entry.title or entry.id, entry, tuple(models), evaluation.id if evaluation is not None else ""
        )

    def _evaluation(self, entry: FigureEntry, at: Path) -> ResolvedEvaluation | None:
        """The evaluation that a figure draws: the named one, or the first that fits."""
        fitting = {one.id: one for one in self.evaluations if one.evaluation.name == entry.reads}
        if entry.evaluation is None:
            if not fitting and entry.reads not in self.unclear_evaluations:
                self.complain(at, f"a figure of kind {entry.kind!r} needs an evaluation of kind {entry.reads!r}")
            return next(iter(fitting.values()), None)
        if entry.evaluation not in fitting and entry.evaluation not in self.unclear_evaluations:
            hint = did_you_mean(entry.evaluation, fitting)
            text = f"{entry.evaluation!r} is no evaluation of kind {entry.reads!r}"
            self.complain((*at, "evaluation"), text, hint)
        return fitting.get(entry.evaluation)

    def _of_evaluation(self, entry: FigureEntry, evaluation: ResolvedEvaluation | None, at: Path) -> FigureEntry:
        """The entry with the defaults that its evaluation gives, and with the data sets of the profile; scores and sets
        that the evaluation lacks are reported.
        """
        if evaluation is None:
            return entry
        config: Any = evaluation.config
        if isinstance(entry, ReliabilityEntry | RiskCoverageEntry):
            known = {DEFAULT_READOUT, "fitted", *(name for model in self.models for name in model.family.readouts)}
            for place, name in enumerate(entry.readouts):
                if name not in known:
                    text = f"no model of the suite has a read-out {name!r}"
                    self.complain((*at, "readouts", place), text, did_you_mean(name, known))
        if isinstance(entry, ReliabilityEntry):
            return entry.model_copy(update={"bins": entry.bins or config.bins})
        if not isinstance(entry, HistogramEntry | RocEntry):
            return entry
        sets = tuple(dict.fromkeys(self.outside.get(name, name) for name in entry.sets)) or tuple(config.sets)
        for key, names, known in (("scores", entry.scores, config.scores), ("sets", sets, config.sets)):
            for place, name in enumerate(names):
                if name not in known:
                    text = f"evaluation {evaluation.id!r} has no {key.removesuffix('s')} {name!r}"
                    self.complain((*at, key, place), text, did_you_mean(name, known))
        return entry.model_copy(update={"sets": sets})
