"""One pass over (weights, data): all outputs of a model on a split that later stages need, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.spec import Split
from bench.family import Classifier, Model
from bench.plugins.family_contract import FamilyContractError, check_rows

__all__ = ["BATCH", "forward_outputs", "gradient_outputs", "predict"]

BATCH = 256
"""Items per forward pass; fixed, so that numbers do not depend on memory, and recorded by the worker."""

Arrays = dict[str, NDArray[Any]]


def predict(
    output: Literal["forward", "gradient"],
    model: Model,
    split: Split,
    progress: Callable[[Mapping[str, Any]], None],
) -> Arrays:
    """The arrays of a predict job, with the ids and labels of the items.

    Args:
        output: ``"forward"`` for `forward_outputs`, ``"gradient"`` for `gradient_outputs`.
        model: The model in eval mode.
        split: The items.
        progress: Called with the numbers of finished and of all items.
    """
    # A module of another package may have no parameters.
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    measure = forward_outputs if output == "forward" else gradient_outputs
    images = split.unit_images()
    pieces: list[Arrays] = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH]).to(device)
        pieces.append(measure(model, batch))
        progress({"done": min(start + BATCH, len(images)), "total": len(images)})
    arrays = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    return {**arrays, "ids": split.ids, "labels": split.labels}


@torch.no_grad()
def forward_outputs(model: Model, images: torch.Tensor) -> Arrays:
    """``logits`` (n, K), ``features`` (n, d) and ``log_density`` (n,) in float32 from the network, and
    ``readout/<name>`` (n, K) log-probabilities, computed from the features in float64. A model without classes has
    ``log_density`` alone.

    Raises:
        FamilyContractError: An output of the model has a wrong type or shape.
    """
    n, name = len(images), type(model).__name__
    if not isinstance(model, Classifier):
        density = model.log_density(images)
        check_rows(density, f"{name}.log_density", n, vector=True)
        return {"log_density": _numpy(density)}
    features = model.features(images)
    check_rows(features, f"{name}.features", n)
    logits = model.classify(features)
    check_rows(logits, f"{name}.classify", n, model.num_classes)
    density = model.evidence(features, logits)
    check_rows(density, f"{name}.evidence", n, vector=True)
    precise = features.double()
    readouts = {}
    for readout, function in _readouts(model, name).items():
        log_probabilities = function(precise)
        check_rows(log_probabilities, f"{name}.readouts()[{readout!r}]", n, model.num_classes)
        readouts[f"readout/{readout}"] = _numpy(log_probabilities)
    return {"logits": _numpy(logits), "features": _numpy(features), "log_density": _numpy(density), **readouts}


def _readouts(model: Classifier, name: str) -> Mapping[str, Any]:
    readouts: object = model.readouts()
    if not isinstance(readouts, Mapping) or not readouts:
        raise FamilyContractError(f"{name}.readouts returned {type(readouts).__name__}, expected functions by name")
    return readouts


def gradient_outputs(model: Model, images: torch.Tensor) -> Arrays:
    """``gradient_norm`` (n,): the L2 norm over pixels of the input gradient of log p(x), pixels in [0, 1].

    One backward pass of the sum gives the gradients of all items, because no layer mixes items in eval mode.
    """
    leaf = images.detach().requires_grad_()
    density = model.log_density(leaf)
    check_rows(density, f"{type(model).__name__}.log_density", len(images), vector=True)
    (gradient,) = torch.autograd.grad(density.sum(), leaf)
    return {"gradient_norm": _numpy(gradient.double().flatten(1).norm(dim=1))}


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """The array in float32 or float64: NumPy has no bfloat16, and half precision is too coarse for metrics."""
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return np.asarray(tensor.detach().cpu().numpy())
