"""The wrapper that makes anybody's module a ``Classifier``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.external import ModuleConfig
from bench.family import Batch, Classifier, Family, Iteration, Step
from bench.registry import import_object

__all__ = ["ModuleClassifier", "ModuleFamily", "no_backbone", "read_state_dict"]


class ModuleClassifier(Classifier):
    """A module from images to logits; its features are its logits, because nothing else is known of it."""

    def __init__(self, module: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(num_classes, image_shape)
        self.module = module

    def features(self, images: Tensor) -> Tensor:
        """The logits (N, K)."""
        logits: Tensor = self.module(images)
        if logits.shape != (len(images), self.num_classes):
            raise BenchError(
                f"the module returned shape {tuple(logits.shape)} for {len(images)} images, "
                f"expected ({len(images)}, {self.num_classes}) logits"
            )
        return logits

    def classify(self, features: Tensor) -> Tensor:
        """The same."""
        return features


class ModuleFamily(Family[ModuleConfig]):
    """Calls the callable and loads the weights."""

    trains = False

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> ModuleClassifier:  # noqa: ARG002
        """The wrapped module.

        Raises:
            BenchError: The callable cannot be imported or does not return a module, or the weights do not fit.
        """
        try:
            function: Any = import_object(self.config.callable)
        except (ImportError, ValueError) as error:
            raise BenchError(f"callable {self.config.callable!r} cannot be imported: {error}") from error
        module = function()
        if not isinstance(module, nn.Module):
            raise BenchError(f"callable {self.config.callable!r} returned a {type(module).__name__}, not an nn.Module")
        if self.config.state_dict is not None:
            path = Path(self.config.state_dict).expanduser()
            try:
                module.load_state_dict(read_state_dict(path))
            except RuntimeError as error:
                raise BenchError(f"{path} does not fit {self.config.callable!r}: {error}") from error
        return ModuleClassifier(module, num_classes, image_shape)

    def training_step(
        self,
        model: ModuleClassifier,  # noqa: ARG002
        batches: Mapping[str, Batch],  # noqa: ARG002
        state: Any,  # noqa: ARG002
        iteration: Iteration,  # noqa: ARG002
    ) -> Step:
        """Never called: the module is not trained."""
        raise BenchError("family 'module' is not trained")


def no_backbone(name: str, in_channels: int) -> nn.Module:  # noqa: ARG001 - the signature of the contract
    """Nothing."""
    return nn.Identity()


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A state dict from ``.safetensors``, or from a torch file with nothing executed.

    Raises:
        BenchError: The file is absent or is not a state dict.
    """
    if not path.is_file():
        raise BenchError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        from bench.tensors import load_tensors

        return load_tensors(path)[0]
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise BenchError(f"{path} does not hold a plain state dict of tensors")
    return loaded
