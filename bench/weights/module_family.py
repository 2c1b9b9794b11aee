"""The wrapper that makes any ``nn.Module`` a ``Classifier``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench.errors import BenchError
from bench.family import Batch, Classifier, Family, Iteration, Step
from bench.files.tensors import load_tensors
from bench.registry import import_object
from bench.weights.module_spec import ModuleConfig
from bench.weights.state_dicts import plain, renamed
from bench.weights.torch_files import read_inert

__all__ = ["ModuleClassifier", "ModuleFamily", "load_into", "no_backbone"]

_LONGEST_LINE = 400
"""Largest number of characters kept of a line of torch's error, which names every missing tensor."""


class ModuleClassifier(Classifier):
    """A module from images to logits. Its features are its logits, since its inner structure is not known."""

    def __init__(self, module: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(num_classes, image_shape)
        self.module = module

    def features(self, images: Tensor) -> Tensor:
        """The logits (N, K)."""
        # A copy: a module may change its input in place, which belongs to the caller and may be a leaf of autograd.
        logits = self.module(images.clone())
        if not isinstance(logits, Tensor):
            raise BenchError(f"the module returned a {type(logits).__name__}, expected a tensor of logits")
        if logits.shape != (len(images), self.num_classes):
            raise BenchError(
                f"the module returned shape {tuple(logits.shape)} for {len(images)} images, "
                f"expected ({len(images)}, {self.num_classes}) logits"
            )
        return logits

    def classify(self, features: Tensor) -> Tensor:
        """The logits (N, K), which are the features themselves."""
        return features


class ModuleFamily(Family[ModuleConfig]):
    """Builds the module by the configured callable and loads its weights."""

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
            self.notes = load_into(module, path, self.config.callable)
            for note in self.notes:
                print(f"{path}: {note}")  # noqa: T201 - into the job's log
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
    """The backbone of families without one: an empty module."""
    return nn.Identity()


def load_into(module: nn.Module, path: Path, name: str) -> tuple[str, ...]:
    """Load the state dict of a file into a module.

    Args:
        module: The module.
        path: The file.
        name: The module's name in errors.

    Returns:
        Notes on the key under which the state dict was found, and on prefixes removed from the names of its tensors.

    Raises:
        BenchError: The file cannot be read, holds no state dict, or does not fit.
    """
    found, under = _state_dict(path)
    weights, prefixes = renamed(found, module.state_dict())
    try:
        # The module itself loads the state dict, since its hooks may accept other names.
        module.load_state_dict(weights)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines()[:6]]
        raise BenchError(f"{path} does not fit {name!r}: {_shown_lines(lines)}") from error
    return (*under, *prefixes)


def _shown_lines(lines: list[str]) -> str:
    """Lines of torch's error joined into one, each cut to ``_LONGEST_LINE`` characters."""
    return " ".join(line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…" for line in lines)


def _state_dict(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """A state dict from ``.safetensors``, or from a torch file without executing anything in it, and a note on the key
    under which it was found, if any (``bench.weights.state_dicts.WRAPPERS``).

    Raises:
        BenchError: The file is missing or damaged, or does not hold a state dict.
    """
    if path.suffix.lower() == ".safetensors":
        return load_tensors(path)[0], ()
    content, _ = read_inert(path)
    try:
        return plain(content)
    except ValueError as error:
        raise BenchError(f"{path} {error}") from error
