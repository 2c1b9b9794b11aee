"""The threat model: which perturbations an attacker may add to an image with values in [0, 1].

This module does not import torch, because suites and plans read budgets. The projection uses methods of tensors only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

Norm = Literal["linf", "l2"]
NORMS: tuple[str, ...] = get_args(Norm)

LARGEST = 1e30
"""Largest number that may be combined with float32 images, such as a step size; beyond it products overflow."""

# Half a unit in the last place of a float32 in [0.5, 1): the most that rounding a pixel can add to a difference.
_HALF_ULP = 2.0**-25


def parse_eps(value: str | float) -> float:
    """Read a perturbation budget such as ``"8/255"``, ``"0.5"`` or ``0.5``.

    Args:
        value: A fraction or decimal as a string, or a number; in units of the pixel range [0, 1].

    Returns:
        The budget, finite and >= 0.

    Raises:
        ValueError: The value is not a number, negative or not finite.

    >>> parse_eps("51/255"), parse_eps(0.5)
    (0.2, 0.5)
    """
    problem = f'eps must be a finite number >= 0 or a fraction such as "8/255", got {value!r}'
    if isinstance(value, bool):
        raise ValueError(problem)
    try:
        number = float(Fraction(value.replace(" ", ""))) if isinstance(value, str) else float(value)
    except (ValueError, ZeroDivisionError, TypeError, OverflowError) as error:
        raise ValueError(problem) from error
    if not math.isfinite(number) or number < 0:
        raise ValueError(problem)
    return number


def format_eps(eps: float) -> str:
    """A budget as text: ``"8/255"`` if it is a multiple of 1/255 below 1, else a decimal.

    ``parse_eps(format_eps(eps)) == eps`` for every finite budget; infinity is ``"unbounded"``.

    >>> format_eps(8 / 255), format_eps(0.3), format_eps(2.0)
    ('8/255', '0.3', '2')
    """
    if math.isinf(eps):
        return "unbounded"
    numerator = round(eps * 255)
    if 0 < numerator < 255 and numerator / 255 == eps:
        return f"{numerator}/255"
    return str(int(eps)) if eps == int(eps) else repr(float(eps))


@dataclass(frozen=True)
class StepSize:
    """A step size, relative to eps or absolute.

    Attributes:
        text: As definitions print it.
        value: A multiple of eps if ``relative``, else a distance in pixel units.
        relative: Whether ``value`` is a multiple of eps.
    """

    text: str
    value: float
    relative: bool

    def resolve(self, eps: float) -> float:
        """The step in pixel units for a budget ``eps``."""
        return self.value * eps if self.relative else self.value


def parse_step(value: str | float) -> StepSize:
    """Read a step size: a number and ``"eps/30"`` are multiples of eps, ``"2/255"`` is absolute.

    Raises:
        ValueError: The value has another form, is not positive, or is larger than `LARGEST`.

    >>> parse_step("eps/4").resolve(0.2), parse_step("51/255").resolve(0.5)
    (0.05, 0.2)
    """
    problem = f'step must be a multiple of eps (0.1), "eps/30" or an absolute step such as "2/255", got {value!r}'
    if isinstance(value, bool):
        raise ValueError(problem)
    try:
        if isinstance(value, str) and value.replace(" ", "").startswith("eps/"):
            text = value.replace(" ", "")
            step = StepSize(text, 1 / parse_eps(text.removeprefix("eps/")), relative=True)
        elif isinstance(value, str):
            number = parse_eps(value)
            step = StepSize(format_eps(number), number, relative=False)
        else:
            number = parse_eps(value)
            step = StepSize(f"{number:g}*eps", number, relative=True)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(problem) from error
    if not 0 < step.value <= LARGEST:
        raise ValueError(problem)
    return step


@dataclass(frozen=True)
class ThreatModel:
    """Perturbations d with ``||d||_norm <= eps`` and ``x + d`` in [0, 1].

    Attributes:
        norm: ``"linf"`` or ``"l2"``, over all pixels and channels of one image.
        eps: The budget in units of the pixel range [0, 1]; infinity for attacks that minimise the norm.
    """

    norm: Norm
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")
        if math.isnan(self.eps) or self.eps < 0:
            raise ValueError(f"eps must be >= 0, got {self.eps!r}")

    @property
    def tolerance(self) -> float:
        """Largest norm that the judge accepts: float32 rounding only, ``eps (1 + 1e-6) + 1e-7``."""
        return self.eps * (1 + 1e-6) + 1e-7

    def project(self, proposals: Tensor, images: Tensor) -> Tensor:
        """Project proposals onto the ball around the images, then onto the box [0, 1].

        Clipping to the box moves no pixel away from its image, so the result lies in both sets.

        Args:
            proposals: (N, C, H, W).
            images: (N, C, H, W), in [0, 1].

        Returns:
            (N, C, H, W), same type and memory format as ``proposals``.
        """
        difference = proposals - images
        if self.norm == "linf":
            difference = difference.clamp(-self.eps, self.eps)
        else:
            # Adding the difference to the image rounds every pixel; the radius leaves room for it.
            radius = max(self.eps - math.sqrt(images[0].numel()) * _HALF_ULP, 0.0) if len(images) else 0.0
            norms = difference.flatten(1).double().norm(dim=1).clamp_min(1e-30)
            factors = (radius / norms).clamp_max(1.0).to(difference.dtype)
            difference = difference * factors.view(-1, *[1] * (images.ndim - 1))
        return (images + difference).clamp(0.0, 1.0)
