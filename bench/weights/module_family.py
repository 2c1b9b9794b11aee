"""The wrapper that makes anybody's module a ``Classifier``."""

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

__all__ = ["ModuleClassifier", "ModuleFamily", "load_into", "no_backbone", "read_state_dict"]

_LONGEST_LINE = 400
"""Characters of a line of an error of torch: it names every tensor that is missing."""


class ModuleClassifier(Classifier):
    """A module from images to logits; its features are its logits, because nothing else is known of it."""

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
    """Nothing."""
    return nn.Identity()


def load_into(module: nn.Module, path: Path, name: str) -> tuple[str, ...]:
    """Load the state dict of a file into a module.

    Args:
        module: Where it goes.
        path: The file.
        name: What an error calls the module.

    Returns:
        Notes on where the state dict lay and what was taken off the names of its tensors.

    Raises:
        BenchError: The file cannot be read, holds no state dict, or does not fit.
    """
    found, under = _state_dict(path)
    weights, prefixes = renamed(found, module.state_dict())
    try:
        # By the module itself: its own hooks may accept what its state dict does not name.
        module.load_state_dict(weights)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines()[:6]]
        raise BenchError(f"{path} does not fit {name!r}: {_shown_lines(lines)}") from error
    return (*under, *prefixes)


def _shown_lines(lines: list[str]) -> str:
    """Lines of an error of torch in one line, each cut where it lists thousands of names."""
    return " ".join(line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…" for line in lines)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A state dict from ``.safetensors``, or from a torch file with nothing executed; also one that lies under a key
    such as ``"state_dict"`` (``bench.weights.state_dicts.WRAPPERS``).

    Raises:
        BenchError: The file is absent or damaged, or does not hold a state dict.
    """
    return _state_dict(path)[0]


def _state_dict(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    if path.suffix.lower() == ".safetensors":
        return load_tensors(path)[0], ()
    content, _ = read_inert(path)
    try:
        return plain(content)
    except ValueError as error:
        raise BenchError(f"{path} {error}") from error
