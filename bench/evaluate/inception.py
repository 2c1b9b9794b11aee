"""FID, IS and KID in the features of the original Inception. Without the weights file every cell is ``n/a``."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt

from bench.evaluate.base import Number, Outcome
from bench.evaluate.inputs import Inputs
from bench.evaluate.sampling import DRAWN, SampleEvaluation, SampleMetric, SamplingConfig, neighbour_metrics
from bench.files.checksums import Checksum

__all__ = ["FILE", "FID", "SHA256_PREFIX", "FIDConfig", "weights_path"]

FILE = "pt_inception-2015-12-05-6726825d.pth"
"""File name of the TF-ported FID Inception; it ends in the first digits of the SHA-256."""
SHA256_PREFIX = "6726825d"

_RESIZED = {
    "pytorch": "pytorch-fid resize",
    "tf1": "TF1 resize",
}
_PIXELS = {"float": "float images", "uint8": "images rounded to 8 bits"}


class FIDConfig(SamplingConfig):
    """Parameters of FID, IS and KID."""

    splits: PositiveInt = Field(10, description="Splits of IS")
    resize: Literal["pytorch", "tf1"] = Field(
        "pytorch",
        description="How images become 299 x 299: as pytorch-fid (bilinear with half-pixel centres, 2 x - 1), or as "
        "the TF1 graph and torch-fidelity (bilinear from the corner, (255 x - 128) / 128)",
        json_schema_extra={"code": "the TF1 graph"},
    )
    pixels: Literal["float", "uint8"] = Field(
        "float",
        description="Whether images enter as they are, or rounded to the nearest of 256 grey levels as in files",
        json_schema_extra={"code": "generated images as they are, real ones of 8 bits"},
    )
    reference: str | None = Field(
        None,
        min_length=1,
        description="File of statistics of the real images in the format of pytorch-fid (.npz with mu and sigma), "
        "relative to the suite; default: the training images. Metrics that need features of real images are n/a then",
    )


def weights_path(weights_root: Path) -> Path | None:
    """The Inception weights: ``BENCH_INCEPTION_WEIGHTS``, else the file in the weights folder; None if absent."""
    given = os.environ.get("BENCH_INCEPTION_WEIGHTS")
    path = Path(given) if given else weights_root / FILE
    return path if path.is_file() else None


class FID(SampleEvaluation):
    """Frechet Inception distance to the training images, Inception score, kernel Inception distance, precision,
    recall, density and coverage, of samples, real images and noise.

    The network is that of the pytorch-fid package. With its resizing, the default, values differ slightly from those of
    the TF1 graph that the paper used; ``resize = "tf1"`` resizes as that graph. The distances are our own, in float64.
    """

    name = "fid"
    version = 4
    summary = "FID, IS, KID, precision, recall, density and coverage with the TF-ported Inception weights."
    source = "GMMC paper, Table 1; Heusel et al. 2017; Salimans et al. 2016; Bińkowski et al. 2018; Naeem et al. 2020"
    Config = FIDConfig
    file_fields = ("reference",)

    def missing(self, weights_root: Path) -> str | None:
        """A hint to the weights file if it is missing, or None."""
        return None if weights_path(weights_root) is not None else "no Inception weights (see bench doctor)"

    def checksums(self, weights_root: Path) -> tuple[Checksum, ...]:
        """The weights file with the digits of its SHA-256 in the published name."""
        path = weights_path(weights_root)
        return () if path is None else (Checksum(path, SHA256_PREFIX),)

    def metrics(self, config: FIDConfig) -> tuple[SampleMetric, ...]:
        """The metrics under their known names."""
        seen = f"{_RESIZED[config.resize]}, {_PIXELS[config.pixels]}"
        inception = f"inception-2015-12-05, {seen}"
        reference = "train" if config.reference is None else config.reference
        drawn = f"{{what}}; {DRAWN}{{made}}"
        whole = (-math.inf, math.inf)
        found = [
            SampleMetric("distance", "fid", "FID", "down", f"fid[{inception}, ref={reference}, {drawn}]"),
            SampleMetric(
                *("score", "is", "IS", "up"),
                f"is[{inception}, 1008-way without bias, {config.splits} splits, {drawn}]",
                within=(1.0, math.inf),
            ),
            SampleMetric(
                *("kernel", "kid", "KID", "down"),
                f"kid[{inception}, (x·y/d + 1)^3, unbiased, all pairs, ref=train, {drawn}]",
                within=whole,
            ),
            *neighbour_metrics(config, inception, _OWN_NAMES, "the training images"),
        ]
        if config.infinity:
            text = f"fid-infinity[{inception}, ref={reference}, fit in 1/n over 15 sizes, {{what}}{{made}}]"
            found.append(SampleMetric("infinity", "fid-infinity", "FID-infinity", "down", text, within=whole))
        return tuple(found)

    def feature_network(self, config: FIDConfig) -> Mapping[str, Any]:
        """The published file and how images enter it."""
        return {"network": FILE, "resize": config.resize, "pixels": config.pixels}

    def evaluate(self, config: FIDConfig, inputs: Inputs) -> Outcome:
        """Measure samples and controls against the training images in the features of Inception."""
        from bench.evaluate import inception_network
        from bench.evaluate.image_sets import Scale
        from bench.evaluate.sample_measures import measure_samples

        path = weights_path(inputs.weights_root)
        assert path is not None  # the planner has looked
        network = inception_network.Inception(
            path, inputs.device, published=SHA256_PREFIX, resize=config.resize, pixels=config.pixels
        )
        found = measure_samples(
            self.metrics(config),
            config,
            inputs,
            network,
            items=config.items,
            # A distance in 2,048 dimensions takes seconds, so there are few draws and divisions.
            scale=Scale(draws=10, repeats=1, splits=config.splits),
            reference="reference" if config.reference is not None else None,
        )
        if isinstance(found, str):
            return self.without_samples(config, found)
        numbers: list[Number] = found.numbers()
        return Outcome(numbers, items=found.items, details={**found.details, "inception_sha256": network.digest})


_OWN_NAMES = {what: what for what in ("precision", "recall", "density", "coverage")}
