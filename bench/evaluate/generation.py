"""Generated images: a class-conditional picture grid, and distances in the features of an independent judge."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Judge, Number, Outcome
from bench.evaluate.inputs import Inputs
from bench.evaluate.judge import JUDGE
from bench.spec import FamilySpec

__all__ = ["Generation", "GenerationConfig"]

LEAST_JUDGE_ACCURACY = 0.9
"""A judge that errs more often measures its own errors."""


class GenerationConfig(EvaluationConfig):
    """Parameters of generation."""

    source: Literal["buffer", "fresh"] = Field(
        "buffer",
        description="The replay buffer as training left it, without slots that are still noise; or fresh chains",
    )
    items: PositiveInt = Field(
        10_000, description="Generated images, at most; never more than there are test images to compare with"
    )
    steps: PositiveInt | None = Field(None, description="Sampler steps of fresh chains; default: as in training")
    columns: PositiveInt = Field(10, description="Images of each class in the picture")


class Generation(Evaluation):
    """Frechet distance and classifier score in the judge's features: ``fcd`` and ``cs``, never called FID or IS.

    Values are comparable only between rows of one table: same judge, same n, same reference. ``fcd@real`` (held-out
    real images) and ``fcd@noise`` stand beside them, so that an unfamiliar scale can be read.
    """

    name = "generation"
    version = 1
    summary = "Class-conditional sample grid; Frechet classifier distance (fcd) and classifier score (cs)."
    source = "GMMC paper, Figs. 3 and 7 and Table 1, with a judge instead of Inception"
    Config = GenerationConfig
    requires = frozenset({"samples"})
    reads_model = True
    least_items = 2  # a covariance

    def columns(self, config: GenerationConfig) -> tuple[Column, ...]:
        """Distance with its two controls, score, and agreement of the judge with the intended class."""
        rows = (
            ("fcd", "", "FCD", "1", "down", "samples"),
            ("fcd", "real", "FCD of test images", "1", None, "held-out test images instead of samples"),
            ("fcd", "noise", "FCD of noise", "1", None, "uniform noise instead of samples"),
            ("cs", "", "CS", "1", "up", "samples"),
            ("agreement", "", "judge agrees", "fraction", "up", "samples"),
        )
        return tuple(
            Column(
                metric=metric,
                argument=argument,
                label=label,
                unit=unit,
                direction=direction,  # type: ignore[arg-type]
                definition=_definition(metric, what, config),
                primary=metric == "fcd",
            )
            for metric, argument, label, unit, direction, what in rows
        )

    def passes(self, config: GenerationConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """Sampling; the judge's passes are small beside it."""
        steps = config.steps if config.steps is not None else 20
        return config.items * (1.0 + (2.0 * steps if config.source == "fresh" else 0.0))

    def judge(self, config: GenerationConfig) -> Judge:  # noqa: ARG002
        """One for each data set."""
        return JUDGE

    def evaluate(self, config: GenerationConfig, inputs: Inputs) -> Outcome:
        """Take or make samples, draw them, measure them."""
        import numpy as np
        import torch

        from bench.evaluate.features import judge_outputs
        from bench.evaluate.samples import class_grid, generated, picture
        from bench.metrics.frechet import GaussianStats, frechet_distance
        from bench.metrics.inception_score import inception_score
        from bench.metrics.intervals import wilson

        classes = inputs.num_classes
        model = inputs.model(with_state=config.source == "buffer")
        train, test = inputs.splits.train, inputs.splits.test
        # The distance is biased by about 1/n: samples and controls must be equally many to be compared.
        most = min(config.items, len(test))
        try:
            samples = generated(model, config.source, most, seed=config.seed, steps=config.steps, num_classes=classes)
        except ValueError as error:
            return self.without_samples(config, str(error))
        judge = inputs.judge()
        n = len(samples.images)
        noise = torch.from_numpy(np.random.default_rng(config.seed).random((n, *train.image_shape), dtype=np.float32))
        made_features, made_log_probs = judge_outputs(judge, samples.images)
        real_log_probs = judge_outputs(judge, torch.from_numpy(test.unit_images()))[1]
        accuracy = float((real_log_probs.argmax(axis=1) == test.labels).mean())
        reason = None
        if accuracy < LEAST_JUDGE_ACCURACY:
            reason = f"the judge is right on only {accuracy:.0%} of the test images"

        reference = GaussianStats.from_features(judge_outputs(judge, torch.from_numpy(train.unit_images()))[0])
        values: dict[tuple[str, str], tuple[float, int]] = {}
        for argument, features in (
            ("", made_features),
            ("real", judge_outputs(judge, torch.from_numpy(test.unit_images()[:n]))[0]),
            ("noise", judge_outputs(judge, noise)[0]),
        ):
            distance = frechet_distance(GaussianStats.from_features(features), reference)
            values["fcd", argument] = (distance, len(features))
        values["cs", ""] = (inception_score(made_log_probs, splits=1)[0], n)
        agrees = made_log_probs.argmax(axis=1) == samples.labels.cpu().numpy()
        values["agreement", ""] = (float(agrees.mean()), n)
        definitions = {(c.metric, c.argument): c.definition for c in self.columns(config)}
        numbers = [
            Number(
                metric=metric,
                argument=argument,
                value=None if reason else value,
                n=count,
                interval=wilson(int(agrees.sum()), n) if metric == "agreement" and not reason else None,
                definition=definitions[metric, argument],
                reason=reason,
            )
            for (metric, argument), (value, count) in values.items()
        ]
        details: dict[str, Any] = {
            "judge_accuracy": accuracy,
            "judge_weights": inputs.digests.get(inputs.spec["judge"]),
            "median_age": float(samples.age.double().median()),
        }
        grid = class_grid(samples, classes, config.columns)
        return Outcome(numbers, files={"samples.png": picture(grid)}, details=details)


def _definition(metric: str, what: str, config: GenerationConfig) -> str:
    source = {"buffer": "replay buffer, age > 0, no selection", "fresh": "fresh chains"}[config.source]
    steps = f", {config.steps} steps" if config.steps is not None else ""
    made = f"{source}{steps}, n <= {config.items} and test items"
    match metric:
        case "fcd":
            return f"fcd[judge-cnn 128-d, {what} against the training images; {made}]"
        case "cs":
            return f"cs[judge-cnn, 1 split; {made}]"
        case _:
            return f"share of samples that the judge puts into the intended class; {made}"
