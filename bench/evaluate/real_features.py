"""Features and statistics of real images, measured once per data set, split, network and way into the network.

They are an artefact in the store, content-addressed like a job: the key is a hash of the data, the split and the
network (`bench.plan.tasks.EvaluateTask.features`). The first evaluation that needs them makes them and holds the lock
of their folder meanwhile, so a second command waits and reads them. They are not made by a job of the plan, because a
job belongs to a model with a family, a backbone and weights in a format of the store. The judge has these, the
Inception network has not, and one mechanism serves both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.spec import Split
from bench.errors import DamagedFileError
from bench.evaluate.features import FeatureNetwork
from bench.evaluate.inputs import Inputs
from bench.files.arrays import save_arrays
from bench.files.atomic import write_json
from bench.metrics.frechet import GaussianStats
from bench.metrics.kernel import CUBIC
from bench.store import OUTPUTS, JobFolder, Prediction, Record
from bench.store.folder import JOB

__all__ = ["STATISTICS", "RealFeatures", "real_features", "stored_features"]

STATISTICS = "statistics.npz"
"""Mean and covariance in the format of pytorch-fid, with the mean kernel value; of the training images alone."""


@dataclass(frozen=True, eq=False)
class RealFeatures:
    """Features of the images of a split, in their order.

    Attributes:
        features: (n, d) float32, as the network gives them.
        stats: Their mean and covariance; None for held-out images, of which draws are measured.
        kernel_mean: Mean kernel value over pairs of features; likewise.
    """

    features: NDArray[np.float32]
    stats: GaussianStats | None = None
    kernel_mean: float | None = None


def real_features(inputs: Inputs, split: Literal["train", "test"], network: FeatureNetwork) -> RealFeatures:
    """Features of the real images of a split of an evaluation's data.

    Raises:
        KeyError: The evaluation did not declare a ``feature_network``.
    """
    folder = inputs.store.folder(inputs.task.features[split])
    facts = inputs.task.facts_of_features(split)
    return stored_features(folder, network, split, lambda: getattr(inputs.splits, split), inputs.progress, facts)


def _measure(
    network: FeatureNetwork, images: Split, progress: Callable[[Mapping[str, Any]], None], *, statistics: bool
) -> RealFeatures:
    """Features of a split, and of the training images their statistics."""
    features = network.features(torch.from_numpy(images.unit_images()), progress)
    if not statistics or not np.isfinite(features).all():
        return RealFeatures(features)
    return RealFeatures(features, GaussianStats.from_features(features), CUBIC.own_mean(features))


def stored_features(
    folder: JobFolder,
    network: FeatureNetwork,
    split: str,
    images: Callable[[], Split],
    progress: Callable[[Mapping[str, Any]], None],
    facts: Mapping[str, Any],
) -> RealFeatures:
    """Features from the store; if they are missing, damaged or of other weights, they are measured and stored first.

    Args:
        folder: Their folder.
        network: The feature network.
        split: ``"train"`` or ``"test"``.
        images: Gives the images.
        progress: Takes progress reports.
        facts: What the key was made from, for people.
    """
    if _valid(folder, network):
        try:
            return _read(folder, split)
        except DamagedFileError:
            folder.distrust()
    with folder.lock():
        folder.sweep()
        if not _valid(folder, network):
            folder.forget()
            _write(folder, network, split, images(), progress, facts)
        return _read(folder, split)


def _valid(folder: JobFolder, network: FeatureNetwork) -> bool:
    record = folder.record()
    return record is not None and record.weights == network.digest and folder.damage() is None


def _read(folder: JobFolder, split: str) -> RealFeatures:
    features = folder.arrays(OUTPUTS)["features"]
    if split != "train" or STATISTICS not in folder.artefacts():
        return RealFeatures(features)
    arrays = folder.arrays(STATISTICS)
    return RealFeatures(features, GaussianStats.from_arrays(arrays), float(arrays["kernel_mean"]))


def _write(
    folder: JobFolder,
    network: FeatureNetwork,
    split: str,
    images: Split,
    progress: Callable[[Mapping[str, Any]], None],
    facts: Mapping[str, Any],
) -> None:
    began = time.time()
    dataset = str(facts.get("dataset", ""))
    name = f"features/{dataset}/{network.name}/{split}"
    write_json(folder.file(JOB), {"id": name, "kind": "predict", "key": folder.key, "spec": dict(facts)})
    found = _measure(network, images, progress, statistics=split == "train")
    save_arrays(folder.file(OUTPUTS), {"features": found.features, "ids": images.ids, "labels": images.labels})
    artefacts = [OUTPUTS]
    if found.stats is not None:
        arrays = {
            "mu": found.stats.mean,
            "sigma": found.stats.covariance,
            "n": np.array(found.stats.n),
            "kernel_mean": np.array(found.kernel_mean),
        }
        save_arrays(folder.file(STATISTICS), arrays)
        artefacts.append(STATISTICS)
    record = Record(
        job=name,
        kind="predict",
        backbone=network.name,
        dataset=dataset,
        weights=network.digest,
        prediction=Prediction(n=len(images), batch_size=network.batch_size, file=OUTPUTS),
        passes=float(len(images)),
        seconds=round(time.time() - began, 3),
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    folder.finish(record, artefacts)
