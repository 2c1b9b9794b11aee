"""Measurement of a model's samples and of controls in the features of one network. Runs in workers."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.spec import Split
from bench.evaluate.base import Number
from bench.evaluate.features import FeatureNetwork
from bench.evaluate.image_sets import ImageSet, Measured, Reference, Scale, measure_set, real_images
from bench.evaluate.inputs import Inputs
from bench.evaluate.real_features import real_features
from bench.evaluate.samples import Generated, generated
from bench.evaluate.sampling import SampleMetric, SamplingConfig
from bench.family import Model
from bench.metrics.frechet import GaussianStats
from bench.metrics.intervals import median_interval
from bench.metrics.neighbours import nearest_neighbours

__all__ = ["MeasuredSamples", "measure_samples"]


@dataclass(frozen=True, eq=False)
class MeasuredSamples:
    """Samples with all that was measured of them and of the controls.

    Attributes:
        model: The model that made them.
        samples: The selected images.
        made: Their outputs.
        real: Outputs of the held-out real images.
        found: What was measured, by metric and name of the set.
        size: Images in a draw.
        items: Arrays over samples: ``ids`` (slots of the buffer, or numbers of fresh chains), ``nearest`` (ids of the
            nearest training images) and ``nearest_distance``. Empty if not all samples are finite.
        details: Facts for the record.
        notes: Remarks by what is measured.
        how: How the samples were made, as definitions say it.
    """

    model: Model
    samples: Generated
    made: ImageSet
    real: ImageSet
    found: Mapping[tuple[SampleMetric, str], Measured]
    size: int
    items: Mapping[str, NDArray[Any]]
    details: Mapping[str, Any]
    notes: Mapping[str, str]
    how: str

    def numbers(self, reason: str | None = None, *, except_for: Container[str] = ()) -> list[Number]:
        """The numbers of the record.

        Args:
            reason: Why none of them counts, if none does.
            except_for: What counts nevertheless.
        """
        numbers = []
        for (metric, name), measured in self.found.items():
            stands = reason is None or metric.what in except_for
            shown = measured if stands else Measured(None, None, reason, measured.n)
            numbers.append(
                Number(
                    metric=metric.name,
                    argument=name,
                    value=shown.value,
                    n=self.size if shown.n is None else shown.n,
                    interval=shown.interval,
                    definition=metric.defined(name, self.how),
                    reason=shown.reason,
                    note=self.notes.get(metric.what) if shown.value is not None else None,
                )
            )
        return numbers


def measure_samples(
    metrics: Sequence[SampleMetric],
    config: SamplingConfig,
    inputs: Inputs,
    network: FeatureNetwork,
    *,
    items: int,
    scale: Scale,
    reference: str | None = None,
) -> MeasuredSamples | str:
    """Select samples and measure them, held-out real images and noise against the training images.

    Args:
        metrics: The numbers.
        config: Which samples, and parameters of metrics.
        inputs: The inputs of the job.
        network: The feature network.
        items: Number of samples, at most.
        scale: Numbers of repetitions.
        reference: Parameter that names a file of statistics, which replace those of the training images.

    Returns:
        The measured samples, or why there are none.
    """
    model = inputs.model(with_state=not config.fresh)
    train, test = inputs.splits.train, inputs.splits.test
    try:
        samples = generated(
            model,
            config.chosen,
            items,
            seed=config.seed,
            steps=config.steps,
            num_classes=inputs.num_classes,
            per_class=config.per_class,
            ages_known=_ages_known(inputs, model),
        )
    except ValueError as error:
        return str(error)
    held_out = real_features(inputs, "test", network).features
    real, largest = real_images(held_out, network.log_probs(held_out), test.labels, train.labels)
    size = min(len(samples.images), largest)
    noise = torch.from_numpy(np.random.default_rng(config.seed).random((size, *train.image_shape), dtype=np.float32))
    made_features = network.features(samples.images, inputs.progress)
    noise_features = network.features(noise, inputs.progress)
    labels, fixed = samples.labels.cpu().numpy(), bool(samples.intended.all())
    no_class = np.zeros(size, dtype=np.int64)
    sets = {
        "": ImageSet(made_features, network.log_probs(made_features), labels, fixed),
        "real": real,
        "noise": ImageSet(noise_features, network.log_probs(noise_features), no_class, fixed=True),
    }
    against, facts, notes = _reference(inputs, network, reference, train)
    what = [metric.what for metric in metrics if metric.what != "nearest"]
    measured = {
        name: measure_set(images, against, what, size, config.seed, scale, config.neighbour)
        for name, images in sets.items()
    }
    arrays: dict[str, NDArray[Any]] = {}
    pixels = {"": samples.images.cpu().numpy(), "real": test.unit_images(), "noise": noise.numpy()}
    in_pixels = config.nearest == "pixels"
    targets = _flat(train.unit_images()) if in_pixels else against.features
    for name, images in sets.items():
        queries = _flat(pixels[name]) if in_pixels else images.features
        indices, measured[name]["nearest"] = _nearest(queries, targets)
        if name == "" and indices is not None:
            ids = samples.origin.cpu().numpy()
            arrays = {"ids": ids, "nearest": train.ids[indices[0]], "nearest_distance": indices[1]}
    found = {(metric, name): measured[name][metric.what] for metric in metrics for name in sets}
    details = {
        "selection": config.chosen,
        **samples.counts,
        "samples": len(labels),
        "test_images": len(test),
        "draw": size,
        "median_age": float(samples.age.double().median()),
        **facts,
    }
    return MeasuredSamples(model, samples, sets[""], real, found, size, arrays, details, notes, config.made)


def _ages_known(inputs: Inputs, model: Any) -> bool:
    """Whether the ages of the buffer's slots mean anything. Checkpoints of the papers' authors hold none; the import
    gives every slot the age 1 then.
    """
    if inputs.task.train.weights is None:
        return True
    stored = model.stored_samples()
    return stored is None or not bool((stored.age == 1).all())


def _reference(
    inputs: Inputs, network: FeatureNetwork, file: str | None, train: Split
) -> tuple[Reference, dict[str, Any], dict[str, str]]:
    """The real images, facts about them for the record, and remarks."""
    if file is None:
        known = real_features(inputs, "train", network)
        assert known.stats is not None
        reference = Reference(known.stats, known.features, train.labels, known.kernel_mean)
        return reference, {"n_reference": len(known.features)}, {}
    arrays, digest = inputs.given_arrays(file)
    stats = GaussianStats.from_arrays(arrays)
    notes = {}
    if stats.n is None:
        notes = {"distance": "the reference file does not say from how many images its statistics are"}
    return Reference(stats), {"n_reference": stats.n, "reference_sha256": digest}, notes


def _nearest(
    queries: NDArray[Any], targets: NDArray[Any] | None
) -> tuple[tuple[NDArray[np.int64], NDArray[np.float32]] | None, Measured]:
    """Index and distance of the nearest target of each query, and the median distance."""
    if targets is None:
        return None, Measured(None, None, "the reference is a file of mean and covariance, without features")
    absent = int((~np.isfinite(queries).all(axis=1)).sum())
    if absent:
        return None, Measured(None, None, f"{absent:,} of {len(queries):,} images are not finite")
    indices, distances = nearest_neighbours(queries, targets)
    nearest = distances[:, 0]
    median = Measured(float(np.median(nearest)), median_interval(nearest), n=len(nearest))
    return (indices[:, 0], nearest.astype(np.float32)), median


def _flat(images: NDArray[Any]) -> NDArray[Any]:
    return images.reshape(len(images), -1)
