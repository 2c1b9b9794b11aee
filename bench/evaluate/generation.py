"""Generated images: a class-conditional picture grid, and distances in the features of an independent judge."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Judge, Number, Outcome
from bench.evaluate.inputs import Inputs
from bench.evaluate.judge import JUDGE
from bench.spec import FamilySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CONTROLS", "DRAWN", "Generation", "GenerationConfig"]

DRAWN = "means over draws of n images, stratified by class"
"""Text of definitions on how sets of unequal size are compared; see `bench.evaluate.image_sets`."""

CONTROLS = {"real": "held-out test images, in the class shares of training", "noise": "uniform noise"}
"""Images that replace samples, by argument of a control."""

LEAST_JUDGE_ACCURACY = 0.9
"""Smallest accuracy of a usable judge; a worse judge would measure its own errors."""


class GenerationConfig(EvaluationConfig):
    """Parameters of generation."""

    source: Literal["buffer", "fresh"] = Field(
        "buffer",
        description="The replay buffer as training left it, without slots that are still noise; or fresh chains",
    )
    items: PositiveInt = Field(
        10_000, description="Generated images, at most; of fresh chains no more than there are test images"
    )
    steps: PositiveInt | None = Field(None, description="Sampler steps of fresh chains; default: as in training")
    columns: PositiveInt = Field(10, description="Images of each class in the picture")


class Generation(Evaluation):
    """Frechet distance and classifier score in the judge's features: ``fcd`` and ``cs``, never called FID or IS.

    Values are comparable only within one table: same judge, same n, same reference. Held-out real images (``@real``)
    and noise (``@noise``) give references for the scale: a score above that of real images is not better than theirs.
    """

    name = "generation"
    version = 2
    summary = "Class-conditional sample grid; Frechet classifier distance (fcd) and classifier score (cs)."
    source = "GMMC paper, Figs. 3 and 7 and Table 1, with a judge instead of Inception"
    Config = GenerationConfig
    requires = frozenset({"samples"})
    reads_model = True
    least_items = 2  # a covariance

    def columns(self, config: GenerationConfig) -> tuple[Column, ...]:
        """Distance and score with their controls, and the agreement of the judge with the intended class."""
        headings = {"": "", "real": " of test images", "noise": " of noise"}
        columns = [
            Column(
                metric=metric,
                argument=argument,
                label=label + heading,
                unit="1",
                direction="down" if metric == "fcd" and not argument else None,
                definition=_definition(metric, argument, config),
                primary=metric == "fcd",
                within=(least, math.inf),
                controls=() if argument else ("real", "noise"),
            )
            for metric, label, least in (("fcd", "FCD", 0.0), ("cs", "CS", 1.0))
            for argument, heading in headings.items()
        ]
        agreement = Column(
            metric="agreement",
            label="judge agrees",
            unit="fraction",
            direction="up",
            definition=_definition("agreement", "", config),
        )
        return (*columns, agreement)

    def passes(self, config: GenerationConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """The passes of sampling; those of the judge are negligible."""
        steps = config.steps if config.steps is not None else 20
        return config.items * (1.0 + (2.0 * steps if config.source == "fresh" else 0.0))

    def judge(self, config: GenerationConfig) -> Judge:  # noqa: ARG002
        """The small independent classifier, trained once per data set."""
        return JUDGE

    def evaluate(self, config: GenerationConfig, inputs: Inputs) -> Outcome:
        """Take or generate samples, measure them and the controls, and draw the grid."""
        import numpy as np
        import torch

        from bench.evaluate.features import judge_outputs
        from bench.evaluate.image_sets import ImageSet, Measured, Scale, measure_sets, real_images
        from bench.evaluate.samples import class_grid, generated, picture
        from bench.metrics.frechet import GaussianStats
        from bench.metrics.predictions import predicted_classes

        classes = inputs.num_classes
        model = inputs.model(with_state=config.source == "buffer")
        train, test = inputs.splits.train, inputs.splits.test
        # Fresh chains are limited to the number of compared images; a buffer is used as it is.
        most = min(config.items, len(test)) if config.source == "fresh" else config.items
        try:
            samples = generated(model, config.source, most, seed=config.seed, steps=config.steps, num_classes=classes)
        except ValueError as error:
            return self.without_samples(config, str(error))
        judge = inputs.judge()
        real, largest = real_images(
            *judge_outputs(judge, torch.from_numpy(test.unit_images())), test.labels, train.labels
        )
        size = min(len(samples.images), largest)
        noise = torch.from_numpy(
            np.random.default_rng(config.seed).random((size, *train.image_shape), dtype=np.float32)
        )
        accuracy = float((predicted_classes(real.log_probs) == test.labels).mean())
        reason = None
        if accuracy < LEAST_JUDGE_ACCURACY:
            reason = f"the judge is right on only {accuracy:.0%} of the test images"

        labels, intended = samples.labels.cpu().numpy(), samples.intended.cpu().numpy()
        made = ImageSet(*judge_outputs(judge, samples.images), labels, bool(intended.all()))
        sets = {
            "": made,
            "real": real,
            "noise": ImageSet(*judge_outputs(judge, noise), np.zeros(size, dtype=np.int64), fixed=True),
        }
        reference = GaussianStats.from_features(judge_outputs(judge, torch.from_numpy(train.unit_images()))[0])
        numbers = []
        for (what, name), found in measure_sets(sets, reference, size, config.seed, Scale(50, 5, 1)).items():
            metric = {"distance": "fcd", "score": "cs"}[what]
            shown = Measured(None, None, reason) if reason else found
            numbers.append(
                Number(
                    metric=metric,
                    argument=name,
                    value=shown.value,
                    n=size,
                    interval=shown.interval,
                    definition=_definition(metric, name, config),
                    reason=shown.reason,
                )
            )
        numbers.append(_agreement(made.log_probs[intended], labels[intended], reason, config))
        details: dict[str, Any] = {
            "judge_accuracy": accuracy,
            "judge_weights": inputs.digests.get(inputs.task.judge.key) if inputs.task.judge is not None else None,
            "median_age": float(samples.age.double().median()),
            "samples": len(labels),
            "test_images": len(test),
            "draw": size,
        }
        grid = class_grid(samples, classes, config.columns)
        return Outcome(numbers, files={"samples.png": picture(grid)}, details=details)


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
        definition=_definition("agreement", "", config),
        reason=reason,
        not_finite=absent,
        note=f"{said} and count as not recognised" if absent and not reason else None,
    )


def _definition(metric: str, argument: str, config: GenerationConfig) -> str:
    source = {"buffer": "replay buffer, age > 0, no selection", "fresh": "fresh chains"}[config.source]
    steps = f", {config.steps} steps" if config.steps is not None else ""
    made = f"{source}{steps}, at most {config.items} images"
    what = CONTROLS.get(argument, "samples")
    match metric:
        case "fcd":
            return f"fcd[judge-cnn 128-d, {what} against the training images; {DRAWN}; {made}]"
        case "cs":
            return f"cs[judge-cnn, 1 split, {what}; {DRAWN}; {made}]"
        case _:
            return f"share of samples made for a class that the judge puts into it; {made}"
