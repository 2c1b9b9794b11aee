"""Precision and compilation of the backbone in training.

They apply only to the passes of training steps, those of the update and of the sampler. Validation, the work after
training, and all later stages run the module unchanged, in float32.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.family import Model
from bench.precision import Pass, bf16_pass, check_bf16, replaced_forward
from bench.rng import preserved

__all__ = ["Forward", "tf32"]


class Forward:
    """Runs a model's ``backbone`` in training with the configured precision and compilation.

    - ``tf32``: matrix products and convolutions of a training step, backward passes included, may use TF32.
    - ``bf16``: the backbone runs in bfloat16, all else in float32; see `bench.precision`.
    - compiled: with ``torch.compile``, and CUDA graphs on a GPU. If compilation fails, training continues eagerly and
      prints this once; ``facts`` have the reason.

    The class of the module, the names in its state dict and its hooks do not change.

    Args:
        model: The model; for bf16 or compilation its attribute ``backbone`` must hold the backbone.
        precision: ``"float32"``, ``"tf32"`` or ``"bf16"``.
        compiled: Whether to compile.
        backend: Backend of ``torch.compile``.

    Raises:
        ValueError: The device has no bfloat16, or the model has no attribute ``backbone``.
    """

    def __init__(self, model: Model, precision: str, compiled: bool, *, backend: Any = "inductor") -> None:
        self.precision = precision
        self._device = next(model.parameters()).device
        self._wanted = compiled
        self._failure: str | None = None
        self._backbone: nn.Module | None = None
        self._called = False
        if precision == "bf16":
            check_bf16(self._device)
        if precision != "bf16" and not compiled:
            return
        backbone = getattr(model, "backbone", None)
        if not isinstance(backbone, nn.Module):
            raise ValueError(
                f"{type(model).__name__} has no attribute 'backbone' that holds its backbone, so "
                f"{'precision bf16' if precision == 'bf16' else 'compile'} would have no effect"
            )
        self._backbone = backbone
        self._parameters = list(backbone.parameters())
        forward = backbone.forward
        self._eager = bf16_pass(forward, self._device.type) if precision == "bf16" else forward
        self._compiled: Pass | None = None
        self._tried: set[tuple[object, ...]] = set()
        if compiled:
            try:
                self._compiled = _compiled_pass(self._eager, self._device.type, backend)
            except Exception as error:
                self._give_up(error)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Context of a training step and its backward pass; module and flags are restored afterwards.

        Raises:
            ValueError: The step never called the backbone, although bf16 or compilation was configured.
        """
        with tf32(self.precision == "tf32"):
            if self._backbone is None:
                yield
                return
            with replaced_forward(self._backbone, self._pass):
                yield
        if not self._called:
            raise ValueError(
                "the training step never calls the backbone as a module, so precision and compile have no effect on it"
            )

    def facts(self) -> dict[str, Any]:
        """Facts for the record: ``precision``, ``compiled``, and after a failure the reason, ``not_compiled``."""
        facts: dict[str, Any] = {"precision": self.precision, "compiled": self._wanted and self._failure is None}
        if self._failure is not None:
            facts["not_compiled"] = self._failure
        return facts

    def _pass(self, images: Tensor) -> Tensor:
        self._called = True
        if self._compiled is not None:
            try:
                self._try(images)
                features = self._compiled(images)
                # The next replay of a CUDA graph overwrites the outputs of this one. PyTorch starts new generations of
                # graphs itself, at a pass when no backward pass is pending. Marking steps by hand would turn this off,
                # and either keep a graph for each sampler step or free memory that a later backward pass needs.
                return features.clone() if images.device.type == "cuda" else features
            except Exception as error:
                self._give_up(error)
        return self._eager(images)

    def _try(self, images: Tensor) -> None:
        """Compile forward and backward pass for a new kind of input, before a failure can leave side effects.

        Backward passes are compiled at their first run, in the middle of a step that has already changed buffers and
        generators. So both passes run once here, and their effects on buffers and random numbers are undone.
        """
        backbone = self._backbone
        assert backbone is not None
        assert self._compiled is not None
        trained = [parameter for parameter in self._parameters if parameter.requires_grad]
        kind = (
            *(tuple(images.shape), images.stride(), images.dtype, images.requires_grad, len(trained)),
            *(torch.is_grad_enabled(), *(module.training for module in backbone.modules())),
        )
        if kind in self._tried:
            return
        buffers = [(buffer, buffer.clone()) for buffer in backbone.buffers()]
        try:
            with warnings.catch_warnings(), preserved():
                warnings.simplefilter("ignore")  # advice of compilers, for example on TF32
                features = self._compiled(images)
                inputs = [*([images] if images.requires_grad else []), *trained]
                if features.requires_grad:
                    torch.autograd.grad(features.sum(), inputs, allow_unused=True)
        finally:
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
        self._tried.add(kind)

    def _give_up(self, error: Exception) -> None:
        self._compiled = None
        # The first line of a backend's error may only name the backend.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        self._failure = " ".join([f"{type(error).__name__}:", *lines[: 2 if lines and lines[0].endswith(":") else 1]])
        print(f"training runs without torch.compile: {self._failure}", file=sys.stderr)  # noqa: T201 - into the job's log


def _compiled_pass(eager: Pass, device_type: str, backend: Any) -> Pass:
    """Compile one whole graph for each kind of input: a graph break would silently run eagerly."""

    def run(images: Tensor) -> Tensor:
        return eager(images)

    # PyTorch caches at most eight graphs per code object, so each model gets its own code object.
    run.__code__ = run.__code__.replace()
    # CUDA graphs: with 64 images, launching the passes of a small network takes as long as running them.
    mode = "reduce-overhead" if device_type == "cuda" and backend == "inductor" else None
    compiled: Pass = torch.compile(run, fullgraph=True, dynamic=False, backend=backend, mode=mode)
    return compiled


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
