"""The precision in which an attack searches: proposals may be cheap, because every verdict is computed in float32.

In bfloat16 only the backbone of a classifier is (`bench.precision`); losses, steps, projections and all points are
float32. What a pass in bfloat16 says of an image is a guess. An attack acts on the guess only after a pass in float32
confirmed it: an image that seems broken and is not would else be left alone. Health of gradients at the start is
measured in float32, so that the checks of a number say the same as without this option.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.precision import bf16_pass, check_bf16, computes_bf16, replaced_forward

from .frozen import FrozenModel
from .gradients import largest, per_image

__all__ = ["Bf16Model", "chosen_precision", "searched"]


class _Scale:
    """The size of the gradient that enters the backbone in one backward pass, as a power of two for each image (N,)."""

    value: Tensor


class _AfterBackbone(torch.autograd.Function):
    """The identity; its backward pass divides the gradient of each image by its size."""

    @staticmethod
    def forward(context: Any, features: Tensor, scale: _Scale) -> Tensor:
        context.scale = scale
        return features.view_as(features)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        exponent = largest(gradient).frexp().exponent
        size = torch.ldexp(torch.ones_like(exponent, dtype=gradient.dtype), exponent)
        context.scale.value = torch.where((size > 0) & size.isfinite(), size, 1)
        return gradient / per_image(context.scale.value, gradient), None


class _BeforeBackbone(torch.autograd.Function):
    """The identity; its backward pass multiplies with what `_AfterBackbone` divided by."""

    @staticmethod
    def forward(context: Any, images: Tensor, scale: _Scale) -> Tensor:
        context.scale = scale
        return images.view_as(images)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient * per_image(context.scale.value, gradient), None


class Bf16Model(FrozenModel):
    """A frozen model whose backbone runs in bfloat16; the model itself keeps its weights and its class.

    Instructions for bfloat16 take numbers below 1e-38 for zero, and the gradient of a cross-entropy whose logits lie 80
    apart, as those of GMMC may, is 1e-35 before it has passed a layer: in float32 such an image still moves. So the
    gradient of each image goes through the backbone with entries of about 1, and gets its size back in float32. The
    size is a power of two, so nothing is rounded.

    Args:
        exact: The same model in float32, which also counts the passes of this one.
        device: Where it is.
    """

    def __init__(self, exact: FrozenModel, device: torch.device) -> None:
        self._exact = exact
        super().__init__(exact.module)
        backbone = exact.module.backbone
        assert isinstance(backbone, nn.Module)  # `chosen_precision` has looked
        self._backbone = backbone
        self._pass = partial(self._call, bf16_pass(backbone.forward, device.type))
        self._called = False

    @property
    @override
    def exact(self) -> FrozenModel:
        return self._exact

    @property
    @override
    def forwards(self) -> int:
        return self._exact.forwards

    @override
    def _counted(self, outputs: Tensor) -> Tensor:
        return self._exact._counted(outputs)

    @override
    def _asked(self, function: Callable[[Tensor], Any], images: Tensor) -> Any:
        with self._lowered():
            return super()._asked(function, images)

    @contextmanager
    def _lowered(self) -> Iterator[None]:
        with replaced_forward(self._backbone, self._pass):
            yield
        if not self._called:
            raise ValueError(
                f"{type(self._model).__name__} never calls its backbone as a module, so search_precision has no effect "
                'on it; use "float32"'
            )

    def _call(self, forward: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        self._called = True
        if not torch.is_grad_enabled():
            return forward(images)
        scale = _Scale()
        entered: Tensor = _BeforeBackbone.apply(images, scale)
        left: Tensor = _AfterBackbone.apply(forward(entered), scale)
        return left


def chosen_precision(wanted: str, model: nn.Module, images: Tensor, device: torch.device) -> str:
    """The precision of a search, ``"float32"`` or ``"bf16"``.

    Args:
        wanted: ``"float32"``, ``"bf16"`` or ``"auto"``: bf16 where it is faster and the model admits it, else float32.
        model: The model whose gradients are taken.
        images: Attacked images.
        device: Where the model is.

    Raises:
        ValueError: bf16 is wanted, but the model has no backbone, or computes in another type than float32, or the GPU
            has no bfloat16.
    """
    if wanted == "float32":
        return wanted
    name, lacks = type(model).__name__, None
    if not isinstance(getattr(model, "backbone", None), nn.Module):
        lacks = f"{name} has no attribute 'backbone' that holds its backbone"
    elif images.dtype != torch.float32 or any(weights.dtype != torch.float32 for weights in model.parameters()):
        lacks = f"{name} or its images are not float32"
    if wanted == "auto":
        return "bf16" if lacks is None and computes_bf16(device) else "float32"
    if lacks is not None:
        raise ValueError(f'search_precision = "bf16": {lacks}; use "float32" or "auto"')
    check_bf16(device)
    return wanted


def searched(view: FrozenModel, precision: str, device: torch.device) -> FrozenModel:
    """The view of a model in the precision of a search, as `chosen_precision` returns it."""
    return view if precision == "float32" else Bf16Model(view, device)
