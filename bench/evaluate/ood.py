"""Out-of-distribution detection: how well scores tell test items from items of other data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from bench.errors import did_you_mean
from bench.evaluate.base import Column, Direction, Evaluation, EvaluationConfig, Need, Outcome, Test, Used
from bench.evaluate.inputs import Inputs
from bench.scores.named import SCORES, named_score
from bench.scores.spec import OUTPUTS, Pass, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.spec import FamilySpec

__all__ = ["OOD", "OODConfig"]

MetricName = Literal["auroc", "fpr95-out", "fpr95-in", "aupr-out", "aupr-in"]


@dataclass(frozen=True)
class _Metric:
    """How the columns of a metric look. ``text`` has places for the formula of the score and the name of the set."""

    label: str
    unit: str
    direction: Direction
    text: str


_METRICS: Mapping[MetricName, _Metric] = {
    "auroc": _Metric("", "auroc", "up", "auroc[{score}; test set against {set}; higher = in-distribution]"),
    "fpr95-out": _Metric(
        "FPR95, positive = out",
        "fraction",
        "down",
        "fpr95-out[{score}; share of the test set that is taken for out-of-distribution at the strictest threshold "
        "that finds 95 % of {set}; higher = in-distribution]",
    ),
    "fpr95-in": _Metric(
        "FPR95, positive = in",
        "fraction",
        "down",
        "fpr95-in[{score}; share of {set} that is taken for in-distribution at the strictest threshold that keeps "
        "95 % of the test set; higher = in-distribution]",
    ),
    "aupr-out": _Metric(
        "AUPR-out",
        "fraction",
        "up",
        "aupr-out[{score}; average precision, positive = {set}, negative = test set, chance = share of positive items; "
        "higher = in-distribution]",
    ),
    "aupr-in": _Metric(
        "AUPR-in",
        "fraction",
        "up",
        "aupr-in[{score}; average precision, positive = test set, negative = {set}, chance = share of positive items; "
        "higher = in-distribution]",
    ),
}


def _score_names(schema: dict[str, Any]) -> None:
    # Asked for when a schema is printed: importing this module must not load the plug-ins of others.
    said = "'module:attribute' of one not registered"
    reference = {"type": "string", "pattern": "^[^:]+:[^:]+$", "description": said}
    schema["items"] = {"anyOf": [{"type": "string", "enum": SCORES.names()}, reference]}


class OODConfig(EvaluationConfig):
    """Parameters of out-of-distribution detection."""

    sets: tuple[str, ...] = Field(min_length=1, description="Out-of-distribution data sets")
    scores: tuple[str, ...] = Field(
        ("log-density", "max-probability", "approximate-mass"),
        min_length=1,
        description="Scores to rank by (`bench list scores`)",
        json_schema_extra=_score_names,
    )
    metrics: tuple[MetricName, ...] = Field(
        ("auroc",),
        min_length=1,
        description="Numbers for each score and set; `fpr95-out` and `aupr-out` count out-of-distribution items as "
        "positive, `fpr95-in` and `aupr-in` test items",
    )
    params: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, description="Parameters of scores by name (`bench describe <score>`)"
    )
    groups: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description='Groups of sets, such as near = ["cifar100"]; the mean over a group is a column of its own',
    )

    @field_validator("scores")
    @classmethod
    def _scores(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            named_score(name)
        return names

    @field_validator("params")
    @classmethod
    def _params(cls, values: Mapping[str, Mapping[str, Any]], info: ValidationInfo) -> dict[str, Any]:
        scores = info.data.get("scores", ())
        for name, given in values.items():
            if name not in scores:
                raise ValueError(f"{name!r} is not among the scores; {did_you_mean(name, scores)}")
            named_score(name, given)
        return {name: dict(given) for name, given in values.items()}

    @model_validator(mode="after")
    def _groups(self) -> Self:
        for group, names in self.groups.items():
            if not group or group != group.strip() or "@" in group or group in self.sets:
                raise ValueError(f"groups: {group!r} cannot be the name of a group; take a word that is no data set")
            if not names:
                raise ValueError(f"groups: {group!r} is empty")
            for name in names:
                if name not in self.sets:
                    raise ValueError(
                        f"groups: {name!r} in {group!r} is not among the sets; {did_you_mean(name, self.sets)}"
                    )
        return self

    @property
    def named(self) -> tuple[Score, ...]:
        """The scores with their parameters."""
        return tuple(named_score(name, self.params.get(name)) for name in self.scores)


class OOD(Evaluation):
    """Rank test items and items of other data sets by scores; ties count half in the AUROC.

    Scores that are fitted read predictions of the training items, un-augmented. The scores of every item are stored:
    the array ``<score>`` of the test items and ``<score>@<set>`` of each set, beside ``ids`` and ``ids@<set>``, NaN
    where an item has none. If the files of a set are missing, the numbers that need it are n/a, and the others are
    measured.
    """

    name = "ood"
    version = 3
    summary = "AUROC, FPR95 and average precision of scores, such as log p(x), against other data sets."
    source = "GMMC paper, Table 3; JEM paper, Sec. 5.3"
    Config = OODConfig
    dataset_fields = ("sets", "groups")
    skips_absent_sets = True
    classifies = False

    def not_applicable(self, family: FamilySpec) -> str | None:
        """Of a family without classes, scores of the density alone are defined."""
        return None if family.can & {"classes", "density"} else f"{family.label} has no density model"

    def needs(self, config: OODConfig) -> tuple[Need, ...]:
        """The outputs that the scores read, on the test set and on every other set; of the training items those that
        they are fitted on.
        """
        outputs = _passes(config.named)
        splits = ("test", *(f"ood:{name}" for name in config.sets))
        fitted = _passes(score for score in config.named if score.fitted)
        return (
            *(Need("train", output) for output in fitted),
            *(Need(split, output) for split in splits for output in outputs),
        )

    def columns(self, config: OODConfig) -> tuple[Column, ...]:
        """One number for each score, metric and set, and for each group of sets."""
        return tuple(place.column for place in _places(config))

    def uses(self, config: OODConfig) -> tuple[Used, ...]:
        """Scores that are not ours: ours belong to the version of this evaluation."""
        return tuple(
            Used("score", score.name, score.version, type(score).__module__, role=f"score {score.name}")
            for score in config.named
            if not type(score).__module__.startswith("bench.scores.")
        )

    def evaluate(self, config: OODConfig, inputs: Inputs) -> Outcome:
        """Compute scores from stored predictions, and numbers from the scores; an item without a score is ranked
        wrongly against the other set.
        """
        from bench.evaluate.ood_numbers import no_number, number
        from bench.evaluate.ood_scores import fit_score, score_items, undefined

        scores = config.named
        train = _read(inputs, "train", _passes(score for score in scores if score.fitted))
        test = _read(inputs, "test", _passes(scores))
        fits = {score.name: undefined(score, test) or fit_score(score, train) for score in scores}
        found: dict[str, dict[str, NDArray[Any]]] = {}
        present = [name for name in config.sets if name not in inputs.absent_sets]
        for done, name in enumerate(("", *present)):
            arrays = _read(inputs, f"ood:{name}", _passes(scores)) if name else test
            values = {score.name: score_items(score, fits[score.name], arrays) for score in scores}
            found[name] = {"ids": arrays["ids"], **values}
            inputs.progress({"done": done + 1, "total": len(present) + 1})
        numbers = []
        for place in _places(config):
            absent = [inputs.absent_sets[name] for name in place.sets if name in inputs.absent_sets]
            if absent:
                numbers.append(no_number(place.column, "; ".join(absent)))
                continue
            outside = {name: found[name][place.score.name] for name in place.sets}
            inside = found[""][place.score.name]
            numbers.append(number(place.column, place.metric, inside, outside, fits[place.score.name]))
        return Outcome(numbers, items=found.pop(""), sets=found)


@dataclass(frozen=True)
class _Place:
    """A column, and the score, the metric and the sets of which it is made; several sets make a mean."""

    column: Column
    score: Score
    metric: MetricName
    sets: tuple[str, ...]


def _places(config: OODConfig) -> Iterator[_Place]:
    """The columns in order: by score, metric and set, groups last."""
    scores = config.named
    for score in scores:
        for metric in config.metrics:
            for name in config.sets:
                column = _column(score, metric, name, name, name)
                test: Test | None = "auroc" if metric == "auroc" else None
                column = replace(column, primary=_first(config, score, metric), test=test)
                yield _Place(column, score, metric, (name,))
            for group, names in config.groups.items():
                label = f"{group} (mean of {len(names)})"
                column = _column(score, metric, group, label, "each set")
                definition = f"mean over {', '.join(names)} of {column.definition}"
                column = replace(column, definition=definition, primary=_first(config, score, metric))
                yield _Place(column, score, metric, names)


def _first(config: OODConfig, score: Score, metric: MetricName) -> bool:
    return score.name == config.named[0].name and metric == config.metrics[0]


def _column(score: Score, metric: MetricName, argument: str, label: str, against: str) -> Column:
    kind = _METRICS[metric]
    return Column(
        metric=f"{score.name}.{metric}",
        argument=argument,
        label=label,
        group=f"{score.label}, {kind.label}" if kind.label else score.label,
        unit=kind.unit,
        direction=kind.direction,
        definition=kind.text.format(score=score.definition, set=against),
    )


def _passes(scores: Iterable[Score]) -> tuple[Pass, ...]:
    """The prediction passes that store what the scores read."""
    return tuple(dict.fromkeys(OUTPUTS[output] for score in scores for output in score.reads))


def _read(inputs: Inputs, split: str, passes: Iterable[Pass]) -> dict[str, NDArray[Any]]:
    """The outputs of several passes over the same items."""
    arrays: dict[str, NDArray[Any]] = {}
    for one in passes:
        arrays |= inputs.outputs(split, one)
    return arrays
