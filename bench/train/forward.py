"""Arithmetic and kernels of training steps: precision of the backbone, TF32, cuDNN, and the layout of images.

They apply only to training steps, those of the update and of the sampler. Validation, the work after training, and all
later stages run the module unchanged, in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.family import Model
from bench.precision import bf16_pass, check_bf16, replaced_forward

__all__ = ["Forward", "kernels", "layout", "tf32"]


class Forward:
    """Runs the training steps of a model with the configured precision and kernels.

    - ``tf32``: matrix products and convolutions of a training step, backward passes included, may use TF32.
    - ``bf16``: the backbone runs in bfloat16, all else in float32; see `bench.precision`.

    The class of the module, the names in its state dict and its hooks do not change.

    Args:
        model: The model; for bf16 its attribute ``backbone`` must hold the backbone.
        precision: ``"float32"``, ``"tf32"`` or ``"bf16"``.
        cudnn: ``"deterministic"`` or ``"benchmark"``; see `kernels`.

    Raises:
        ValueError: The device has no bfloat16, or the model has no attribute ``backbone``.
    """

    def __init__(self, model: Model, precision: str, cudnn: str = "deterministic") -> None:
        self.precision, self.cudnn = precision, cudnn
        self._backbone: nn.Module | None = None
        self._called = False
        if precision != "bf16":
            return
        device = next(model.parameters()).device
        check_bf16(device)
        backbone = getattr(model, "backbone", None)
        if not isinstance(backbone, nn.Module):
            raise ValueError(
                f"{type(model).__name__} has no attribute 'backbone' that holds its backbone, so precision bf16 would "
                "have no effect"
            )
        self._backbone = backbone
        self._reduced = bf16_pass(backbone.forward, device.type)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Context of a training step and its backward pass; module and flags are restored afterwards.

        Raises:
            ValueError: The step never called the backbone, although bf16 was configured.
        """
        with tf32(self.precision == "tf32"), kernels(self.cudnn):
            if self._backbone is None:
                yield
                return
            with replaced_forward(self._backbone, self._pass):
                yield
        if not self._called:
            raise ValueError(
                "the training step never calls the backbone as a module, so precision bf16 has no effect on it"
            )

    def facts(self) -> dict[str, Any]:
        """Facts for the record: ``precision`` and ``cudnn``."""
        return {"precision": self.precision, "cudnn": self.cudnn}

    def _pass(self, images: Tensor) -> Tensor:
        self._called = True
        return self._reduced(images)


def layout(device_type: str, precision: str) -> torch.memory_format:
    """The layout of images in which convolutions of training steps are fastest.

    CPUs and tensor cores, which compute TF32 and bf16, read the channels of a pixel together. The float32 kernels of
    GPUs do not. The activations of a network keep the layout of its images.

    Args:
        device_type: Such as ``"cpu"`` or ``"cuda"``.
        precision: As for `Forward`.
    """
    return torch.channels_last if device_type == "cpu" or precision != "float32" else torch.contiguous_format


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in matrix products and convolutions; restores the process-wide flags afterwards."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextmanager
def kernels(choice: str) -> Iterator[None]:
    """Choose the kernels of cuDNN; restores the process-wide flags afterwards.

    Args:
        choice: ``"deterministic"``: two runs on one kind of GPU have the same bits, as far as cuDNN decides.
            ``"benchmark"``: the fastest kernel for each shape, found by timing at its first use.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = choice == "deterministic", choice == "benchmark"
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
