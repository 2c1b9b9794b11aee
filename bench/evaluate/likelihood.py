"""Likelihood of test images under models with an exact density, in bits per dimension."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Number, Outcome
from bench.evaluate.inputs import Inputs
from bench.spec import FamilySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.family import Model

__all__ = ["Likelihood", "LikelihoodConfig", "dequantised", "levels_of"]

BATCH = 256
"""Images in a pass."""


class LikelihoodConfig(EvaluationConfig):
    """Parameters of the likelihood."""

    levels: int = Field(
        256,
        ge=2,
        le=65536,
        description="Values that a pixel can have, equally spaced in [0, 1]: 256 of 8-bit images, 17 of digits. Images "
        "with other values have no such likelihood",
    )
    draws: PositiveInt = Field(1, description="Draws of the dequantisation noise of each image, which are averaged")


class Likelihood(Evaluation):
    """Bits per dimension of test images (Theis, van den Oord, Bethge, "A note on the evaluation of generative models",
    ICLR 2016, Sec. 3.1).

    A density at the values of a lattice can be made as high as one likes, so noise is added that is uniform over the
    cell of each value: y = (x (L - 1) + u) / L with L levels. Then -E log p(y) / (D ln 2) + log2 L is an upper bound of
    the bits per dimension of the discrete images. A uniform density has log2 L: 8 for 8-bit images.
    """

    name = "likelihood"
    version: ClassVar[int | None] = 1
    summary = "Bits per dimension of dequantised test images, of models with an exact density."
    source = "Theis et al. 2016, Sec. 3.1; Glow and Residual Flow, their tables of bits per dimension"
    Config = LikelihoodConfig
    classifies = False
    requires = frozenset({"likelihood"})
    reads_model = True

    def columns(self, config: LikelihoodConfig) -> tuple[Column, ...]:
        """One column."""
        return (
            Column(
                metric="bits",
                label="bits/dim",
                unit="1",
                direction="down",
                definition=_definition(config),
                primary=True,
                test="permutation",
                within=(-math.inf, math.inf),
            ),
        )

    def passes(self, config: LikelihoodConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """A forward pass for each draw."""
        return float(config.draws * items)

    def evaluate(self, config: LikelihoodConfig, inputs: Inputs) -> Outcome:
        """Measure; an item without a finite log p(y) makes the mean infinite, so the number is n/a then."""
        from bench.metrics.intervals import bootstrap_mean
        from bench.metrics.predictions import absence, finite_items

        test = inputs.splits.test
        (column,) = self.columns(config)

        def without(reason: str, absent: int = 0) -> Outcome:
            return Outcome(
                [
                    Number(
                        metric="bits",
                        value=None,
                        n=len(test),
                        definition=column.definition,
                        reason=reason,
                        not_finite=absent,
                    )
                ]
            )

        images = test.unit_images()
        if (levels := levels_of(images, config.levels)) != config.levels:
            hint = f"; levels = {levels} fits" if levels is not None else ""
            return without(f"the test images have other values than {config.levels} levels{hint}")
        bits = bits_per_dimension(inputs.model(), images, test.ids, config, inputs)
        absent = int((~finite_items(bits)).sum())
        if absent:
            return without(absence(absent, len(test), "test items have no finite log p(x)"), absent)
        number = Number(
            metric="bits",
            value=float(bits.mean()),
            n=len(test),
            interval=bootstrap_mean(bits, config.seed) if len(test) > 1 else None,
            definition=column.definition,
            items="bits",
        )
        return Outcome([number], {"ids": test.ids, "bits": bits})


def _definition(config: LikelihoodConfig) -> str:
    draws = f"{config.draws} draw{'s' if config.draws > 1 else ''} an image"
    return (
        f"-log2 p(y) / D + log2 {config.levels}, test images with uniform noise over the cell of each of "
        f"{config.levels} levels, {draws}: an upper bound"
    )


def levels_of(images: NDArray[np.float32], asked: int) -> int | None:
    """The number of levels on which images lie: ``asked`` if they do, else the smallest of 2 to 256 that fits, or None.

    Args:
        images: Of any shape, in [0, 1].
        asked: The number to try first.
    """
    import numpy as np

    values = np.unique(images.astype(np.float64))

    def fits(levels: int) -> bool:
        scaled = values * (levels - 1)
        return bool((np.abs(scaled - np.round(scaled)) < 1e-3).all())

    return next((levels for levels in (asked, *range(2, 257)) if fits(levels)), None)


def dequantised(images: NDArray[np.float32], noise: NDArray[np.float32], levels: int) -> NDArray[np.float32]:
    """Images in [0, 1] with noise that is uniform over the cell of each value.

    Args:
        images: On ``levels`` equally spaced values in [0, 1].
        noise: Of the same shape, in [0, 1).
        levels: L.

    >>> import numpy as np
    >>> dequantised(np.float32([0, 1]), np.float32([0, 0.5]), 2).tolist()
    [0.0, 0.75]
    """
    import numpy as np

    found: NDArray[np.float32] = ((np.round(images * (levels - 1)) + noise) / levels).astype(np.float32)
    return found


def bits_per_dimension(
    model: Model, images: NDArray[np.float32], ids: NDArray[np.int64], config: LikelihoodConfig, inputs: Inputs
) -> NDArray[np.float64]:
    """The bits of each image per dimension, mean over draws, (N,)."""
    import numpy as np
    import torch

    from bench.plugins.family_contract import check_rows
    from bench.rng import derive_seed, uniform

    size = int(np.prod(images.shape[1:]))
    seed = derive_seed(config.seed, "dequantisation")
    nats: list[Any] = []
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            part, own = images[start : start + BATCH], ids[start : start + BATCH]
            total = np.zeros(len(part))
            for draw in range(config.draws):
                noise = uniform(seed, own, draw, size).reshape(part.shape)
                points = torch.from_numpy(dequantised(part, noise, config.levels)).to(inputs.device)
                found = model.log_density(points)
                check_rows(found, f"{type(model).__name__}.log_density", len(part), vector=True)
                total += found.double().cpu().numpy()
            nats.append(total / config.draws)
            inputs.progress({"done": start + len(part), "total": len(images)})
    return np.asarray(-np.concatenate(nats) / (size * math.log(2)) + math.log2(config.levels))
