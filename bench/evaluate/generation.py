"""Generated images: a class-conditional picture grid, and distances in the features of an independent judge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt

from bench.evaluate.base import Column, Judge, Number, Outcome
from bench.evaluate.inputs import Inputs
from bench.evaluate.judge import JUDGE
from bench.evaluate.sampling import DRAWN, SampleEvaluation, SampleMetric, SamplingConfig, neighbour_metrics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Generation", "GenerationConfig"]

_NAMES = {what: f"judge-{what}" for what in ("precision", "recall", "density", "coverage")}


class GenerationConfig(SamplingConfig):
    """Parameters of generation. Of fresh chains there are no more than test images."""

    later: ClassVar[frozenset[str]] = frozenset({"least_judge"})

    columns: PositiveInt = Field(10, description="Images of each class in the picture")
    least_judge: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Least accuracy of the judge on test images, below which it would measure its own errors and its "
        "numbers are n/a. On data where the best models are below it, the accuracy of the best model is a fair value",
    )


class Generation(SampleEvaluation):
    """Distances and scores in the judge's features: ``fcd``, ``cs``, ``kcd``, never called FID, IS or KID.

    Values are comparable only within one table: same judge, same n, same reference. Held-out real images (``@real``)
    and noise (``@noise``) give references for the scale: a score above that of real images is not better than theirs.
    """

    name = "generation"
    version = 4
    summary = "Class-conditional sample grid; distances, scores and coverage in the features of a judge (fcd, cs, kcd)."
    source = "GMMC paper, Figs. 3 and 7 and Table 1, with a judge instead of Inception"
    Config = GenerationConfig

    def metrics(self, config: GenerationConfig) -> tuple[SampleMetric, ...]:
        """Distances and score with names of their own."""
        against = "{what} against the training images"
        drawn = f"{DRAWN}{{made}}"
        found = [
            SampleMetric("distance", "fcd", "FCD", "down", f"fcd[judge-cnn 128-d, {against}; {drawn}]"),
            SampleMetric(
                *("score", "cs", "CS", None, f"cs[judge-cnn, 1 split, {{what}}; {drawn}]"), within=(1.0, math.inf)
            ),
            SampleMetric(
                *("kernel", "kcd", "KCD", "down"),
                f"kcd[judge-cnn 128-d, (x·y/d + 1)^3, unbiased, all pairs, {against}; {drawn}]",
                within=(-math.inf, math.inf),
            ),
            *neighbour_metrics(config, "judge-cnn 128-d", _NAMES, "the training images"),
        ]
        if config.infinity:
            text = f"fcd-infinity[judge-cnn 128-d, fit in 1/n over 15 sizes, {against}{{made}}]"
            whole = (-math.inf, math.inf)
            found.append(SampleMetric("infinity", "fcd-infinity", "FCD-infinity", "down", text, within=whole))
        return tuple(found)

    def columns(self, config: GenerationConfig) -> tuple[Column, ...]:
        """All metrics with their controls, and the agreement of the judge with the intended class."""
        agreement = Column(
            metric="agreement",
            label="judge agrees",
            unit="fraction",
            direction="up",
            definition=_agreement_definition(config),
        )
        return (*super().columns(config), agreement)

    def judge(self, config: GenerationConfig) -> Judge:  # noqa: ARG002
        """The small independent classifier, trained once per data set."""
        return JUDGE

    def feature_network(self, config: GenerationConfig) -> Mapping[str, Any]:  # noqa: ARG002
        """The judge, which the task knows."""
        return {"network": "judge"}

    def evaluate(self, config: GenerationConfig, inputs: Inputs) -> Outcome:
        """Take or generate samples, measure them and the controls, and draw the grids.

        A model with class centers gets two more, of the images closest to the center of their class and of those
        farthest from it (GMMC paper, Figs. 9 to 18).
        """
        from bench.evaluate.features import JudgeNetwork
        from bench.evaluate.image_sets import Scale
        from bench.evaluate.sample_measures import measure_samples
        from bench.evaluate.samples import center_distances, class_grid, picture
        from bench.metrics.predictions import predicted_classes

        judge = inputs.judge()
        weights = inputs.digests.get(inputs.task.judge.key) if inputs.task.judge is not None else None
        test = inputs.splits.test
        found = measure_samples(
            self.metrics(config),
            config,
            inputs,
            JudgeNetwork(judge, weights or ""),
            # Fresh chains are limited to the number of compared images; a buffer is used as it is.
            items=min(config.items, len(test)) if config.fresh else config.items,
            scale=Scale(50, 5, 1),
        )
        if isinstance(found, str):
            return self.without_samples(config, found)
        accuracy = float((predicted_classes(found.real.log_probs) == test.labels).mean())
        reason = None
        if accuracy < config.least_judge:
            asked = f"least_judge = {config.least_judge:g}"
            reason = f"the judge is right on only {accuracy:.0%} of the test images ({asked})"
        labels = found.samples.labels.cpu().numpy()
        intended = found.samples.intended.cpu().numpy()
        # Distances in pixels do not depend on the judge.
        in_pixels = {"nearest"} if config.nearest == "pixels" else set()
        numbers = found.numbers(reason, except_for=in_pixels)
        numbers.append(_agreement(found.made.log_probs[intended], labels[intended], reason, config))
        details: dict[str, Any] = {**found.details, "judge_accuracy": accuracy, "judge_weights": weights}
        orders: dict[str, NDArray[np.float64] | None] = {"samples": None}
        distances = center_distances(found.model, found.samples)
        if distances is not None:
            orders |= {"closest": distances, "farthest": -distances}
        files = {
            f"{name}.png": picture(class_grid(found.samples, inputs.num_classes, config.columns, order))
            for name, order in orders.items()
        }
        return Outcome(numbers, items=found.items, files=files, details=details)


def _agreement(
    log_probs: NDArray[np.float64], intended: NDArray[np.int64], reason: str | None, config: GenerationConfig
) -> Number:
    """How often the judge predicts the class for which an image was generated.

    Images without an intended class, as in JEM's buffer, are left out: for them it would measure the agreement with
    the model's own prediction.
    """
    from bench.metrics.intervals import wilson
    from bench.metrics.predictions import NO_CLASS, absence, predicted_classes

    n = len(intended)
    if reason is None and not n:
        reason = "the images were made for no class"
    seen = predicted_classes(log_probs)
    right, absent = int((seen == intended).sum()), int((seen == NO_CLASS).sum())
    said = absence(absent, n, "images have no finite features")
    if reason is None and absent == n:
        reason = said
    return Number(
        metric="agreement",
        value=None if reason else right / n,
        n=n,
        interval=None if reason else wilson(right, n),
        definition=_agreement_definition(config),
        reason=reason,
        not_finite=absent,
        note=f"{said} and count as not recognised" if absent and not reason else None,
    )


def _agreement_definition(config: GenerationConfig) -> str:
    return f"share of samples made for a class that the judge puts into it; {config.made}"
