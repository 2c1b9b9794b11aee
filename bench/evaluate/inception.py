"""FID and IS in the features of the original Inception. Without the weights file every cell is ``n/a``."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Number, Outcome
from bench.evaluate.generation import CONTROLS, DRAWN
from bench.evaluate.inputs import Inputs
from bench.files.checksums import Checksum
from bench.spec import FamilySpec

__all__ = ["FILE", "FID", "SHA256_PREFIX", "FIDConfig", "weights_path"]

FILE = "pt_inception-2015-12-05-6726825d.pth"
"""File name of the TF-ported FID Inception; it ends in the first digits of the SHA-256."""
SHA256_PREFIX = "6726825d"


class FIDConfig(EvaluationConfig):
    """Parameters of FID and IS."""

    source: Literal["buffer", "fresh"] = Field("buffer", description="As for generation")
    items: PositiveInt = Field(10_000, description="Generated images, at most")
    steps: PositiveInt | None = Field(None, description="Sampler steps of fresh chains; default: as in training")
    splits: PositiveInt = Field(10, description="Splits of IS")


def weights_path(weights_root: Path) -> Path | None:
    """The Inception weights: ``BENCH_INCEPTION_WEIGHTS``, else the file in the weights folder; None if absent."""
    given = os.environ.get("BENCH_INCEPTION_WEIGHTS")
    path = Path(given) if given else weights_root / FILE
    return path if path.is_file() else None


class FID(Evaluation):
    """Frechet Inception distance to the training images, and Inception score, of samples, real images and noise.

    Network and resizing are those of the pytorch-fid package (bilinear, half-pixel centres), so values differ slightly
    from those of the TF1 graph that the paper used. The distance is our own, in float64, by eigenvalues.
    """

    name = "fid"
    version = 2
    summary = "FID and IS with the TF-ported Inception weights."
    source = "GMMC paper, Table 1; Heusel et al. 2017; Salimans et al. 2016"
    Config = FIDConfig
    requires = frozenset({"samples"})
    reads_model = True
    least_items = 2  # a covariance

    def missing(self, weights_root: Path) -> str | None:
        """A hint to the weights file if it is missing, or None."""
        return None if weights_path(weights_root) is not None else "no Inception weights (see bench doctor)"

    def checksums(self, weights_root: Path) -> tuple[Checksum, ...]:
        """The weights file with the digits of its SHA-256 in the published name."""
        path = weights_path(weights_root)
        return () if path is None else (Checksum(path, SHA256_PREFIX),)

    def columns(self, config: FIDConfig) -> tuple[Column, ...]:
        """FID and IS with their controls."""
        headings = {"": "", "real": " of test images", "noise": " of noise"}
        return tuple(
            Column(
                metric=metric,
                argument=argument,
                label=label + heading,
                unit="1",
                direction=direction if not argument else None,  # type: ignore[arg-type]
                definition=_definition(metric, argument, config),
                primary=metric == "fid",
                within=(least, math.inf),
                controls=() if argument else ("real", "noise"),
            )
            for metric, label, direction, least in (("fid", "FID", "down", 0.0), ("is", "IS", "up", 1.0))
            for argument, heading in headings.items()
        )

    def passes(self, config: FIDConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """The passes of sampling; those of Inception are not counted, because they do not depend on the backbone."""
        steps = config.steps if config.steps is not None else 20
        return config.items * (1.0 + (2.0 * steps if config.source == "fresh" else 0.0))

    def evaluate(self, config: FIDConfig, inputs: Inputs) -> Outcome:
        """Measure samples and controls against the training images in the features of Inception."""
        import numpy as np
        import torch

        from bench.evaluate.image_sets import ImageSet, Scale, measure_sets, real_images
        from bench.evaluate.inception_network import Inception
        from bench.evaluate.samples import generated
        from bench.metrics.frechet import GaussianStats

        path = weights_path(inputs.weights_root)
        assert path is not None  # the planner has looked
        network = Inception(path, inputs.device, published=SHA256_PREFIX)
        model = inputs.model(with_state=config.source == "buffer")
        train, test = inputs.splits.train, inputs.splits.test
        try:
            samples = generated(
                model,
                config.source,
                config.items,
                seed=config.seed,
                steps=config.steps,
                num_classes=inputs.num_classes,
            )
        except ValueError as error:
            return self.without_samples(config, str(error))
        held_out = network.outputs(torch.from_numpy(test.unit_images()), inputs.progress)
        real, largest = real_images(*held_out, test.labels, train.labels)
        size = min(len(samples.images), largest)
        noise = torch.from_numpy(
            np.random.default_rng(config.seed).random((size, *train.image_shape), dtype=np.float32)
        )
        labels, fixed = samples.labels.cpu().numpy(), bool(samples.intended.all())
        sets = {
            "": ImageSet(*network.outputs(samples.images, inputs.progress), labels, fixed),
            "real": real,
            "noise": ImageSet(*network.outputs(noise, inputs.progress), np.zeros(size, dtype=np.int64), fixed=True),
        }
        reference, _ = network.outputs(torch.from_numpy(train.unit_images()), inputs.progress)
        # A distance in 2,048 dimensions takes seconds, so there are few draws and divisions.
        scale = Scale(draws=10, repeats=1, splits=config.splits)
        measured = measure_sets(sets, GaussianStats.from_features(reference), size, config.seed, scale)
        numbers = []
        for (what, name), found in measured.items():
            metric = {"distance": "fid", "score": "is"}[what]
            numbers.append(
                Number(
                    metric=metric,
                    argument=name,
                    value=found.value,
                    n=size,
                    interval=found.interval,
                    definition=_definition(metric, name, config),
                    reason=found.reason,
                )
            )
        details = {
            "n_reference": len(reference),
            "samples": len(labels),
            "test_images": len(test),
            "draw": size,
            "inception_sha256": network.digest,
        }
        return Outcome(numbers, details=details)


def _definition(metric: str, argument: str, config: FIDConfig) -> str:
    source = {"buffer": "replay buffer, age > 0, no selection", "fresh": "fresh chains"}[config.source]
    steps = f", {config.steps} steps" if config.steps is not None else ""
    what = CONTROLS.get(argument, "samples")
    made = f"{what}; {DRAWN}; {source}{steps}, at most {config.items} images, float images"
    if metric == "fid":
        return f"fid[inception-2015-12-05, pytorch-fid resize, ref=train, {made}]"
    return f"is[inception-2015-12-05, 1008-way without bias, {config.splits} splits, {made}]"
