"""FID and IS in the original Inception's features. Needs the weights file; without it every cell is ``n/a``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Number, Outcome
from bench.evaluate.inputs import Inputs
from bench.spec import FamilySpec

__all__ = ["FILE", "FID", "FIDConfig", "weights_path"]

FILE = "pt_inception-2015-12-05-6726825d.pth"
"""The TF-ported FID Inception; the name ends in the first digits of its SHA-256."""


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
    """Frechet Inception distance to the training images, and Inception score.

    Network and resizing are those of the pytorch-fid package (bilinear, half-pixel centres), so values differ a
    little from the TF1 graph that the paper used. The distance is ours: in float64, by eigenvalues.
    """

    name = "fid"
    version = 1
    summary = "FID and IS with the TF-ported Inception weights."
    source = "GMMC paper, Table 1; Heusel et al. 2017; Salimans et al. 2016"
    Config = FIDConfig
    requires = frozenset({"samples"})
    reads_model = True
    least_items = 2  # a covariance

    def missing(self, weights_root: Path) -> str | None:
        """The weights file."""
        return None if weights_path(weights_root) is not None else "no Inception weights (see bench doctor)"

    def columns(self, config: FIDConfig) -> tuple[Column, ...]:
        """FID and IS."""
        return (
            Column(
                metric="fid",
                label="FID",
                unit="1",
                direction="down",
                definition=f"fid[inception-2015-12-05, pytorch-fid resize, ref=train, {_samples(config)}]",
                primary=True,
            ),
            Column(
                metric="is",
                label="IS",
                unit="1",
                direction="up",
                definition=f"is[inception-2015-12-05, 1008-way without bias, {config.splits} splits, "
                f"{_samples(config)}]",
            ),
        )

    def passes(self, config: FIDConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """Sampling; Inception's own passes come on top and depend on no backbone."""
        steps = config.steps if config.steps is not None else 20
        return config.items * (1.0 + (2.0 * steps if config.source == "fresh" else 0.0))

    def evaluate(self, config: FIDConfig, inputs: Inputs) -> Outcome:
        """Samples and training images through Inception."""
        import torch

        from bench.evaluate.inception_network import Inception
        from bench.evaluate.samples import generated
        from bench.metrics.frechet import GaussianStats, frechet_distance
        from bench.metrics.inception_score import inception_score

        path = weights_path(inputs.weights_root)
        assert path is not None  # the planner has looked
        network = Inception(path, inputs.device)
        model = inputs.model(with_state=config.source == "buffer")
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
        made, log_probs = network.outputs(samples.images, inputs.progress)
        real, _ = network.outputs(torch.from_numpy(inputs.splits.train.unit_images()), inputs.progress)
        distance = frechet_distance(GaussianStats.from_features(made), GaussianStats.from_features(real))
        score, spread = inception_score(log_probs, splits=min(config.splits, len(made)))
        columns = {column.metric: column.definition for column in self.columns(config)}
        n = len(made)
        return Outcome(
            [
                Number(metric="fid", value=distance, n=n, definition=columns["fid"]),
                Number(metric="is", value=score, n=n, definition=columns["is"]),
            ],
            details={"is_sd": spread, "n_reference": len(real), "inception_sha256": network.digest},
        )


def _samples(config: FIDConfig) -> str:
    source = {"buffer": "replay buffer, age > 0, no selection", "fresh": "fresh chains"}[config.source]
    steps = f", {config.steps} steps" if config.steps is not None else ""
    return f"{source}{steps}, n <= {config.items}, float images"
