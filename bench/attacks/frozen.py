"""The view of a model that attacks use: frozen, with counted passes, and restored afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.rng import preserved


class FrozenModel:
    """The view of a model that attacks use; made by `frozen`.

    All conversions of number types happen here. A model may return logits, features and class centers in any real
    floating type; attacks get them in the type of their images. If all weights have another floating type and the model
    refuses images in the type of the attack, the model gets images in the type of its weights.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._weights_type = _common_type(model)
        self._own_type: torch.dtype | None = None
        self._forwards = 0

    @property
    def forwards(self) -> int:
        """Images passed forward through the network so far."""
        return self._forwards

    @property
    def module(self) -> nn.Module:
        """The model itself."""
        return self._model

    @property
    def exact(self) -> FrozenModel:
        """The view in the precision of verdicts: this one, except where a search runs in bfloat16."""
        return self

    def logits(self, images: Tensor) -> Tensor:
        """(N, K) logits of (N, C, H, W) images in [0, 1], in the floating type of the images.

        Raises:
            ValueError: The model returned something other than N rows of at least two real floating values.
        """
        return self._counted(self._checked(self._asked(self._model, images), images))

    def _asked(self, function: Callable[[Tensor], Any], images: Tensor) -> Any:
        """Outputs of a function of the model; images have the type of its weights once it has refused another type."""
        if self._own_type is not None:
            return function(images.to(self._own_type))
        try:
            return function(images)
        except RuntimeError as error:
            # Try again only if the model refused the type and its weights have another one.
            refused = any(word in str(error) for word in ("dtype", "type", "scalar type"))
            if not refused or self._weights_type in (None, images.dtype):
                raise
            answer = function(images.to(self._weights_type))
            self._own_type = self._weights_type
            return answer

    def _checked(self, outputs: object, images: Tensor) -> Tensor:
        if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(images):
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ValueError(
                f"the model must map {tuple(images.shape)} images to ({len(images)}, K) logits, got {shape}"
            )
        if outputs.shape[1] < 2:
            raise ValueError(f"logits must be of K >= 2 classes, got shape {tuple(outputs.shape)}")
        return _converted(outputs, images, "logits")

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor, int]:
        """(N, K) logits without gradient, (N, d) features with gradient, and the number of forward passes: one if the
        model has a method ``logits_and_features(x)`` that returns both, as classifiers of the harness have, else two.

        Raises:
            ValueError: The model has no features, or its logits have a wrong shape or type.
        """
        function = getattr(self._model, "logits_and_features", None)
        both = self._asked(function, images) if callable(function) else None
        if both is None:
            with torch.no_grad():
                logits = self.logits(images)
            return logits, self._features(images), 2
        logits, features = both
        found = _converted(features, images, "features").flatten(1)
        return self._checked(logits, images).detach(), self._counted(found), 1

    def _features(self, images: Tensor) -> Tensor:
        function = getattr(self._model, "features", None)
        if not callable(function):
            raise ValueError(f"{type(self._model).__name__} has no features(x), which distance losses need")
        outputs = _converted(self._asked(function, images), images, "features")
        return self._counted(outputs.flatten(1))

    def class_centers(self, images: Tensor | None = None) -> Tensor:
        """(K, d) class centers in feature space; in the floating type and on the device of ``images`` if given.

        Raises:
            ValueError: The model has no class centers, or they are not real floating values.
        """
        function = getattr(self._model, "class_centers", None)
        centers = function() if callable(function) else None
        if not isinstance(centers, Tensor):
            raise ValueError(f"{type(self._model).__name__} has no class_centers(), which distance losses need")
        return centers.detach() if images is None else _converted(centers, images, "class centers").detach()

    @property
    def has_centers(self) -> bool:
        """Whether the model has class centers."""
        function = getattr(self._model, "class_centers", None)
        return callable(function) and isinstance(function(), Tensor)

    def memory_format(self, image: Tensor) -> torch.memory_format:
        """Channels-last if the model accepts it (convolutions run faster), else contiguous.

        A model that reshapes with ``view`` refuses channels-last; a trial forward pass of one image tells.

        Args:
            image: (1, C, H, W).
        """
        pair = image.expand(2, *image.shape[1:]).contiguous(memory_format=torch.channels_last)
        try:
            with torch.no_grad():
                self._asked(self._model, pair)
        except RuntimeError as error:
            if "view" not in str(error):
                raise
            return torch.contiguous_format
        return torch.channels_last

    def _counted(self, outputs: Tensor) -> Tensor:
        self._forwards += len(outputs)
        return outputs


def _common_type(model: nn.Module) -> torch.dtype | None:
    """The common type of all floating weights of a model; None without such weights or with several types."""
    types = {weights.dtype for weights in model.parameters() if weights.dtype.is_floating_point}
    return types.pop() if len(types) == 1 else None


def _converted(values: Tensor, images: Tensor, what: str) -> Tensor:
    """Values of a model in the floating type and on the device of the images.

    Raises:
        ValueError: They are integers, booleans or complex numbers, which have no gradient or margin.
    """
    if not values.dtype.is_floating_point:
        raise ValueError(f"{what} must be real floating values such as float32 or bfloat16, got {values.dtype}")
    return values.to(images)


@contextmanager
def frozen(model: nn.Module) -> Iterator[FrozenModel]:
    """Freeze a model for the duration of an attack.

    Inside: evaluation mode, parameters without gradients, float32 without TF32 or autocast, deterministic cuDNN
    kernels, gradients enabled. Afterwards, also after an exception, the mode of every module and ``requires_grad`` of
    every parameter are restored one by one (a BatchNorm in evaluation mode inside a training model stays so), and so
    are the global random states of Python, NumPy and torch.

    Args:
        model: Any module from images to logits.

    Yields:
        The view to attack.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    precision = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn
    try:
        torch.set_float32_matmul_precision("highest")
        model.eval()
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        with (
            preserved(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
            cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            yield FrozenModel(model)
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode
        torch.set_float32_matmul_precision(precision)
