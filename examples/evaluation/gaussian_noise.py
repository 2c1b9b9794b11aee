"""Accuracy under Gaussian noise. Light to import: what needs torch is imported inside ``evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PositiveInt

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Number, Outcome, Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.evaluate.inputs import Inputs
    from bench.spec import FamilySpec

__all__ = ["NOISE", "Noise", "NoiseConfig"]


class NoiseConfig(EvaluationConfig):
    """Parameters; ``seed`` is inherited."""

    sigmas: tuple[PositiveFloat, ...] = Field(
        min_length=1, description="Standard deviations of the noise, in units of the pixel range [0, 1]"
    )
    items: PositiveInt = Field(1000, description="Test items: the first of the fixed order")
    batch_size: PositiveInt = Field(128, description="Items of a forward pass; changes no number")


class Noise(Evaluation):
    """Share of test items that are classified correctly after one draw of Gaussian noise, clipped to [0, 1].

    The noise of an item depends on (seed, id of the item) alone, so that all models see the same images.
    """

    name = "noise"
    summary = "Accuracy under additive Gaussian noise."
    source = "Hendrycks and Dietterich, ICLR 2019 (Gaussian noise, with the standard deviation as it is)"
    Config = NoiseConfig
    reads_model = True  # rather than its stored predictions on clean images

    def columns(self, config: NoiseConfig) -> tuple[Column, ...]:
        """One number for each standard deviation."""
        return tuple(
            Column(
                metric="accuracy",
                argument=_written(sigma),
                label=f"sigma {_written(sigma)}",
                group="accuracy under Gaussian noise",
                unit="fraction",
                direction="up",
                definition=_definition(sigma),
                primary=True,
                test="mcnemar",
            )
            for sigma in config.sigmas
        )

    def parts(self, config: NoiseConfig) -> tuple[Part, ...]:
        """A job for each standard deviation: adding one recomputes none of the others."""
        return tuple(Part(_written(s), config.model_copy(update={"sigmas": (s,)})) for s in config.sigmas)

    def passes(self, config: NoiseConfig, items: int, family: FamilySpec) -> float:
        """A forward pass an item."""
        del family
        return float(min(config.items, items) * len(config.sigmas))

    def evaluate(self, config: NoiseConfig, inputs: Inputs) -> Outcome:
        """Classify noisy images. An item without finite logits counts as wrong."""
        import numpy as np
        import torch

        from bench.metrics.intervals import wilson
        from bench.metrics.predictions import NO_CLASS, predicted_classes

        (sigma,) = config.sigmas
        model = inputs.model()
        test = inputs.splits.test
        test = test.take(np.arange(min(config.items, len(test))))
        predicted = []
        for start in range(0, len(test), config.batch_size):
            batch = test.take(np.arange(start, min(start + config.batch_size, len(test))))
            images = batch.unit_images()
            noise = gaussian(config.seed, batch.ids, images[0].size).reshape(images.shape)
            noisy = torch.from_numpy((images + sigma * noise).clip(0, 1).astype(np.float32)).to(inputs.device)
            with torch.no_grad():
                predicted.append(predicted_classes(model(noisy).double().cpu().numpy()))
            inputs.progress({"done": start + len(batch), "total": len(test)})
        answers = np.concatenate(predicted)
        correct = answers == test.labels
        number = Number(
            metric="accuracy",
            argument=_written(sigma),
            value=float(correct.mean()),
            n=len(correct),
            interval=wilson(int(correct.sum()), len(correct)),
            definition=_definition(sigma),
            items="correct",
            not_finite=int((answers == NO_CLASS).sum()),
        )
        return Outcome([number], {"ids": test.ids, "correct": correct})


def gaussian(seed: int, ids: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Standard normal values, (N, size); row i depends on (seed, ids[i]) alone."""
    from scipy.special import ndtri

    from bench.rng import uniform

    drawn = uniform(seed, ids, 0, size).astype("float64") + 2.0**-25  # from [0, 1) into (0, 1)
    values: NDArray[np.float64] = ndtri(drawn)
    return values


def _written(sigma: float) -> str:
    return f"{sigma:g}"


def _definition(sigma: float) -> str:
    return f"accuracy[argmax of logits, test images plus N(0, {_written(sigma)}^2) clipped to [0, 1], one draw]"


NOISE = Noise()
