"""An evaluation that uses the model: how often a prediction survives a shift of the image.

Light to import: what needs torch is imported inside ``evaluate``. A suite names it as
``kind = "a_skeleton:EVALUATION"``. To register it under its name, publish it as a package with

    [project.entry-points."bench.evaluations"]
    a-skeleton = "a_skeleton:EVALUATION"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Number, Outcome, Part

if TYPE_CHECKING:
    from bench.evaluate.inputs import Inputs
    from bench.spec import FamilySpec

__all__ = ["EVALUATION", "ASkeleton", "ASkeletonConfig"]


class ASkeletonConfig(EvaluationConfig):
    """Parameters; ``seed`` is inherited."""

    shifts: tuple[PositiveInt, ...] = Field(
        (1, 2), min_length=1, description="Pixels to the right, one number for each"
    )
    items: PositiveInt = Field(1000, description="Test items: the first of the fixed order")
    batch_size: PositiveInt = Field(128, description="Items of a forward pass; changes no number")


class ASkeleton(Evaluation):
    """Share of test items whose predicted class is the same after a shift to the right, with zeros at the left."""

    name = "a-skeleton"
    summary = "Consistency of predictions under a shift of the image."
    source = "Zhang, ICML 2019, Sec. 4.1 (one shift in the place of all pairs)"
    Config = ASkeletonConfig
    reads_model = True  # rather than its stored predictions on clean images

    def columns(self, config: ASkeletonConfig) -> tuple[Column, ...]:
        """Every number, known before anything runs."""
        return tuple(
            Column(
                metric="consistency",
                argument=str(shift),
                label=f"by {shift}",
                group="same prediction after a shift",
                unit="fraction",
                direction="up",
                definition=_definition(shift),
                primary=True,
                test="mcnemar",
            )
            for shift in config.shifts
        )

    def parts(self, config: ASkeletonConfig) -> tuple[Part, ...]:
        """A job for each shift: adding one recomputes none of the others."""
        return tuple(Part(str(s), config.model_copy(update={"shifts": (s,)})) for s in config.shifts)

    def passes(self, config: ASkeletonConfig, items: int, family: FamilySpec) -> float:
        """Two forward passes an item."""
        del family
        return 2.0 * min(config.items, items) * len(config.shifts)

    def evaluate(self, config: ASkeletonConfig, inputs: Inputs) -> Outcome:
        """Classify each image and its shifted copy; an item without finite logits counts as changed."""
        import numpy as np
        import torch

        from bench.metrics.intervals import wilson
        from bench.metrics.predictions import NO_CLASS, predicted_classes

        (shift,) = config.shifts
        model, test = inputs.model(), inputs.splits.test
        test = test.take(np.arange(min(config.items, len(test))))
        clean, moved = [], []
        for start in range(0, len(test), config.batch_size):
            batch = test.take(np.arange(start, min(start + config.batch_size, len(test))))
            images = torch.from_numpy(batch.unit_images()).to(inputs.device)
            shifted = torch.nn.functional.pad(images, (shift, 0))[..., : images.shape[-1]]
            with torch.no_grad():
                clean.append(predicted_classes(model(images).double().cpu().numpy()))
                moved.append(predicted_classes(model(shifted).double().cpu().numpy()))
            inputs.progress({"done": start + len(batch), "total": len(test)})
        one, other = np.concatenate(clean), np.concatenate(moved)
        lost = (one == NO_CLASS) | (other == NO_CLASS)
        same = (one == other) & ~lost
        number = Number(
            metric="consistency",
            argument=str(shift),
            value=float(same.mean()),
            n=len(same),
            interval=wilson(int(same.sum()), len(same)),
            definition=_definition(shift),
            items="same",
            not_finite=int(lost.sum()),
        )
        return Outcome([number], {"ids": test.ids, "same": same})


def _definition(shift: int) -> str:
    return f"consistency[same argmax of logits after a shift by {shift} pixels to the right, zeros at the left]"


EVALUATION = ASkeleton()
