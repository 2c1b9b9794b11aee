"""Losses that an attack maximises, one value per image; never averaged over a batch.

A mean would shrink the gradients by the batch size, which alone can make them underflow for models
with sharp logits. z are the logits, y the label, t the target, phi the features, mu the class centers.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .definitions import LEAST_CLASSES


@dataclass(frozen=True)
class LossInputs:
    """What a loss may look at.

    Attributes:
        logits: (N, K).
        labels: (N,) true classes.
        targets: (N,) classes to reach, or None if any wrong class will do.
        features: (N, d), only for losses with ``needs_features``.
        centers: (K, d), only for losses with ``needs_features``.
    """

    logits: Tensor
    labels: Tensor
    targets: Tensor | None = None
    features: Tensor | None = None
    centers: Tensor | None = None


@dataclass(frozen=True)
class Loss:
    """A named loss.

    Attributes:
        name: As written in suites and definitions.
        definition: The formula that is maximised, without and with a target.
        function: From inputs to (N,) values.
        targetable: Whether it has a form for a given target.
        per_rival: Whether it always needs a target; without a given one, attacks visit the rivals in turn.
        needs_features: Whether it reads features and class centers.
        min_classes: Fewest classes K for which it is defined.
    """

    name: str
    definition: str
    function: Callable[[LossInputs], Tensor]
    targetable: bool = True
    per_rival: bool = False
    needs_features: bool = False
    min_classes: int = 2

    def __call__(self, inputs: LossInputs) -> Tensor:
        """(N,) loss values, to be maximised.

        Raises:
            ValueError: Too few classes, a target that the loss cannot use, or a missing one.
        """
        classes = inputs.logits.shape[1]
        if classes < self.min_classes:
            raise ValueError(f"loss {self.name!r} needs at least {self.min_classes} classes, the model has {classes}")
        if inputs.targets is not None and not self.targetable:
            raise ValueError(f"loss {self.name!r} has no targeted form; use 'margin' or 'ce' with targets")
        if inputs.targets is None and self.per_rival:
            raise ValueError(f"loss {self.name!r} needs a target for every image")
        return self.function(inputs)


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)


def _best_other(logits: Tensor, classes: Tensor) -> Tensor:
    # Filling with -inf, not multiplying with a one-hot mask: the latter turns an excluded logit into 0,
    # which is the maximum whenever all logits are negative.
    return logits.scatter(1, classes[:, None], -torch.inf).amax(dim=1)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """max_{k != y} z_k - z_y, shape (N,): positive where the prediction is wrong."""
    return _best_other(logits, labels) - _at(logits, labels)


def _cross_entropy(temperature: float) -> Callable[[LossInputs], Tensor]:
    def function(inputs: LossInputs) -> Tensor:
        logits = inputs.logits if temperature == 1 else inputs.logits / temperature
        if inputs.targets is not None:
            return -F.cross_entropy(logits, inputs.targets, reduction="none")
        return F.cross_entropy(logits, inputs.labels, reduction="none")

    return function


def _margin(inputs: LossInputs) -> Tensor:
    if inputs.targets is not None:
        return -margins(inputs.logits, inputs.targets)
    return margins(inputs.logits, inputs.labels)


def _margin_per_rival(inputs: LossInputs) -> Tensor:
    assert inputs.targets is not None  # Loss.__call__ has checked
    return _at(inputs.logits, inputs.targets) - _at(inputs.logits, inputs.labels)


def _dlr(inputs: LossInputs) -> Tensor:
    top = inputs.logits.topk(3, dim=1).values
    return margins(inputs.logits, inputs.labels) / (top[:, 0] - top[:, 2] + 1e-12)


def _squared_distance(inputs: LossInputs, classes: Tensor) -> Tensor:
    if inputs.features is None or inputs.centers is None:
        raise ValueError("a distance loss needs a model with features(x) and class_centers()")
    return (inputs.features - inputs.centers[classes]).square().sum(dim=1)


def _distance(inputs: LossInputs) -> Tensor:
    if inputs.targets is not None:
        return -_squared_distance(inputs, inputs.targets)
    return _squared_distance(inputs, inputs.labels)


def _distance_per_rival(inputs: LossInputs) -> Tensor:
    assert inputs.targets is not None  # Loss.__call__ has checked
    return -_squared_distance(inputs, inputs.targets)


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("ce", "-log softmax(z)_y; with a target log softmax(z)_t", _cross_entropy(1.0)),
        Loss("margin", "max_{k!=y} z_k - z_y; with a target z_t - max_{k!=t} z_k", _margin),
        Loss("margin-targeted", "z_t - z_y for each rival t in turn", _margin_per_rival, per_rival=True),
        Loss(
            "dlr",
            "(max_{k!=y} z_k - z_y) / (z_(1) - z_(3)), Croce & Hein 2020, eq. 6",
            _dlr,
            targetable=False,
            min_classes=LEAST_CLASSES["dlr"],
        ),
        Loss(
            "distance",
            "||phi - mu_y||^2; with a target -||phi - mu_t||^2",
            _distance,
            needs_features=True,
        ),
        Loss(
            "distance-targeted",
            "-||phi - mu_t||^2 for each rival t in turn",
            _distance_per_rival,
            per_rival=True,
            needs_features=True,
        ),
    )
}


def get_loss(name: str) -> Loss:
    """The loss of a name; ``"ce@T"`` is the cross-entropy of z / T, for example ``"ce@20"``.

    Raises:
        ValueError: Unknown name (the nearest one is suggested) or a temperature that is not positive.
    """
    if name in LOSSES:
        return LOSSES[name]
    if name.startswith("ce@"):
        try:
            temperature = float(name.removeprefix("ce@"))
        except ValueError:
            temperature = 0.0
        if not 0 < temperature < float("inf"):
            raise ValueError(f"loss {name!r}: the temperature must be a positive number, as in 'ce@20'")
        text = f"ce@{temperature:g}"
        definition = f"-log softmax(z/{temperature:g})_y; with a target log softmax(z/{temperature:g})_t"
        return Loss(text, definition, _cross_entropy(temperature))
    near = difflib.get_close_matches(name, LOSSES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown loss {name!r}{hint} (known: {', '.join(LOSSES)}, ce@T)")
