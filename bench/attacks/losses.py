"""Losses that attacks maximise, one value per image and never averaged over a batch.

A mean would divide the gradients by the batch size, and they could underflow for models with sharp logits. z are the
logits, y the label, t the target, phi the features, mu the class centers. This module does not import torch: planning
reads the needs of a loss, and the formulas use methods of tensors.

A new loss is one function and one entry in `LOSSES`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .threat import LARGEST

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "AUTOMATIC",
    "LOSSES",
    "TYPICAL_GAP",
    "Goal",
    "Loss",
    "LossInputs",
    "get_loss",
    "listed_losses",
    "loss_schema",
    "margins",
    "tempered",
]

AUTOMATIC = "ce@T"
"""The cross-entropy of z / T with T chosen by the attack, from the median clean gap (adaptive PGD)."""
TYPICAL_GAP = 5.5
"""Gap z_y - max_k z_k of logits that leaves cross-entropy a gradient: 1 - p_y is about 1 % or more."""


@dataclass(frozen=True)
class LossInputs:
    """Inputs of a loss.

    Attributes:
        logits: (N, K).
        labels: (N,) true classes.
        targets: (N,) classes to reach, or None if any wrong class is a success.
        features: (N, d), only for losses with ``needs_centers``.
        centers: (K, d), only for losses with ``needs_centers``.
    """

    logits: Tensor
    labels: Tensor
    targets: Tensor | None = None
    features: Tensor | None = None
    centers: Tensor | None = None


@dataclass(frozen=True)
class Loss:
    """A named loss and its needs.

    Attributes:
        name: As written in suites and definitions.
        definition: The formula that is maximised, without and with a target.
        function: From inputs to (N,) values.
        targetable: Whether it has a form for a given target.
        per_rival: Whether it always needs a target; if none is given, attacks visit the rivals in turn.
        needs_centers: Whether it reads features and class centers.
        min_classes: Fewest classes K for which it is defined.
    """

    name: str
    definition: str
    function: Callable[[LossInputs], Tensor]
    targetable: bool = True
    per_rival: bool = False
    needs_centers: bool = False
    min_classes: int = 2

    def __call__(self, inputs: LossInputs) -> Tensor:
        """(N,) loss values, to be maximised.

        Raises:
            ValueError: There are too few classes, or a target is given or missing against the needs of the loss.
        """
        classes = inputs.logits.shape[1]
        if classes < self.min_classes:
            raise ValueError(f"loss {self.name!r} needs at least {self.min_classes} classes, the model has {classes}")
        if inputs.targets is not None and not self.targetable:
            raise ValueError(f"loss {self.name!r} has no targeted form; use 'margin' or 'ce' with targets")
        if inputs.targets is None and self.per_rival:
            raise ValueError(f"loss {self.name!r} needs a target for every image")
        return self.function(inputs)

    @property
    def column(self) -> str:
        """The name in column names, where ``@`` has another meaning: ``ce@20`` becomes ``ce-t20``."""
        return "ce-t" if self.name == AUTOMATIC else self.name.replace("@", "-t")

    def lacking(self, centers: bool, classes: int) -> str | None:
        """Why the loss does not apply to a model with K ``classes``, with or without class ``centers``, or None."""
        if self.needs_centers and not centers:
            return "the family has no class centers"
        if classes < self.min_classes:
            return f"{self.name} needs at least {self.min_classes} classes, the data have {classes}"
        return None

    def limits(self, rivals: int | None) -> list[str]:
        """Remarks for definitions: the rivals that the loss visits, and the models to which it applies.

        Args:
            rivals: Number of rivals that an attack visits; None: all.
        """
        found = [visited(rivals)] if self.per_rival else []
        return found + (["where there are class centers"] if self.needs_centers else [])


def visited(rivals: int | None) -> str:
    """Text for definitions on the number of rivals that an attack visits; None: all."""
    return "all rivals" if rivals is None else f"top {rivals} rivals"


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """max_{k != y} z_k - z_y, shape (N,): positive where the prediction is wrong."""
    # The excluded logit is filled with -inf. A one-hot mask would turn it into 0, the maximum if all logits are
    # negative.
    return logits.scatter(1, labels[:, None], float("-inf")).amax(dim=1) - _at(logits, labels)


@dataclass(frozen=True)
class Goal:
    """What adversarial images must achieve.

    Attributes:
        labels: (N,) true classes.
        targets: (N,) classes to reach; None: any wrong class is a success.
    """

    labels: Tensor
    targets: Tensor | None

    def to(self, device: torch.device) -> Goal:
        """The goal on a device."""
        return Goal(self.labels.to(device), None if self.targets is None else self.targets.to(device))

    def rows(self, index: Tensor) -> Goal:
        """The goal of the images of an index (M,), or of a mask (N,)."""
        return Goal(self.labels[index], None if self.targets is None else self.targets[index])

    def margin(self, logits: Tensor) -> Tensor:
        """(N,) margin towards the goal, positive where it is reached: `margins`, or z_t - max_{k != t} z_k."""
        return margins(logits, self.labels) if self.targets is None else -margins(logits, self.targets)

    def reached(self, predictions: Tensor) -> Tensor:
        """(N,) whether predicted classes (N,) are the targets; without targets, whether they are wrong."""
        return predictions != self.labels if self.targets is None else predictions == self.targets


def _cross_entropy(temperature: float) -> Callable[[LossInputs], Tensor]:
    def function(inputs: LossInputs) -> Tensor:
        from torch.nn.functional import cross_entropy

        logits = inputs.logits if temperature == 1 else inputs.logits / temperature
        if inputs.targets is not None:
            return -cross_entropy(logits, inputs.targets, reduction="none")
        return cross_entropy(logits, inputs.labels, reduction="none")

    return function


def _chosen_later(_: LossInputs) -> Tensor:
    raise ValueError(f"loss {AUTOMATIC!r} has no temperature yet; only adaptive_pgd chooses one")


def _margin(inputs: LossInputs) -> Tensor:
    return Goal(inputs.labels, inputs.targets).margin(inputs.logits)


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
            min_classes=3,
        ),
        Loss("distance", "||phi - mu_y||^2; with a target -||phi - mu_t||^2", _distance, needs_centers=True),
        Loss(
            "distance-targeted",
            "-||phi - mu_t||^2 for each rival t in turn",
            _distance_per_rival,
            per_rival=True,
            needs_centers=True,
        ),
    )
}
"""The losses without a temperature, by name."""


def get_loss(name: object, known: Iterable[str] | None = None) -> Loss:
    """The loss of a name; ``"ce@20"`` is the cross-entropy of z / 20.

    Args:
        name: As written; ``"ce@20.0"`` is ``"ce@20"``.
        known: Allowed names, out of `LOSSES` and `AUTOMATIC`; None: all of `LOSSES`. If ``"ce"`` is allowed,
            ``"ce@<temperature>"`` is too.

    Raises:
        ValueError: The name is unknown (the nearest one is suggested), or the temperature is not a positive number in
            the range of float32.

    >>> get_loss("ce@20.0").name
    'ce@20'
    """
    allowed = tuple(LOSSES) if known is None else tuple(known)
    if isinstance(name, str) and name in allowed:
        if name == AUTOMATIC:
            return Loss(AUTOMATIC, f"ce of z/T, T: median clean gap / {TYPICAL_GAP}", _chosen_later)
        return LOSSES[name]
    if isinstance(name, str) and "ce" in allowed and name.startswith("ce@"):
        written = name.removeprefix("ce@")
        temperature = float(written) if re.fullmatch(r"\d+(\.\d+)?(e[+-]?\d+)?", written) else 0.0
        if not 1 / LARGEST <= temperature <= LARGEST:
            raise ValueError(f"loss {name!r}: the temperature must be a positive number, as in 'ce@20'")
        return tempered(temperature)
    near = difflib.get_close_matches(name, allowed, n=1) if isinstance(name, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    also = ", ce@<temperature>" if "ce" in allowed else ""
    raise ValueError(f"unknown loss {name!r}, expected one of {', '.join(allowed)}{also}{hint}")


def listed_losses(names: Iterable[str], known: Sequence[str] | None = None) -> tuple[str, ...]:
    """The canonical names of a list of losses, as definitions print them.

    Args:
        names: As written.
        known: Allowed names, as for `get_loss`.

    Raises:
        ValueError: A loss is unknown or listed twice.

    >>> listed_losses(["ce@20.0", "margin"])
    ('ce@20', 'margin')
    """
    found = tuple(get_loss(name, known).name for name in names)
    if len(set(found)) != len(found):
        raise ValueError("a loss is listed twice")
    return found


def tempered(temperature: float) -> Loss:
    """The cross-entropy of z / temperature."""
    text = f"{temperature:g}"
    formula = f"-log softmax(z/{text})_y; with a target log softmax(z/{text})_t"
    return Loss(f"ce@{text}", formula, _cross_entropy(temperature))


def loss_schema(known: Iterable[str] | None = None) -> dict[str, Any]:
    """The names that `get_loss` accepts, as a JSON schema."""
    temperature = {"type": "string", "pattern": r"^ce@\d+(\.\d+)?(e[+-]?\d+)?$"}
    return {"anyOf": [{"enum": list(LOSSES if known is None else known)}, temperature]}
