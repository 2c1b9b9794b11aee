"""Reads the images of ``family = "samples"`` once and keeps them beside the record of the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.data.archive import images_of, labels_of
from bench.data.content import FILE_BYTES, check_memory, memory_limit
from bench.data.folder import decode
from bench.errors import BenchError, DamagedFileError, first_line, nearest
from bench.family import Batch, Family, Iteration, Model, Samples, Step
from bench.files.arrays import load_arrays
from bench.files.checksums import read_measured
from bench.registry import import_object
from bench.weights.samples_spec import SamplesConfig, image_files

__all__ = ["SamplesFamily", "SamplesModel"]

_IMAGES, _LABELS = ("images", "arr_0"), ("labels", "arr_1")


class SamplesModel(Model):
    """Images without a network: it makes no new ones."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(num_classes, image_shape)
        # A file of weights holds at least one tensor.
        self.register_buffer("none", torch.zeros(1))
        self.kept: Samples | None = None

    def stored_samples(self) -> Samples | None:
        """All images; their age is 1, since each is finished."""
        return self.kept


class _Kept:
    """The state that is stored: 8-bit images and labels."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self._state = {"images": torch.from_numpy(images), "labels": torch.from_numpy(labels)}

    def state_dict(self) -> dict[str, Tensor]:
        """``images`` (N, C, H, W) uint8 and ``labels`` (N,) int64, -1 where there is none."""
        return self._state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace both."""
        self._state = dict(state)


class SamplesFamily(Family[SamplesConfig]):
    """Reads or generates the images, and stores them with 8 bits a pixel, as files of images have them."""

    trains = False

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> SamplesModel:  # noqa: ARG002
        """A model without parameters."""
        return SamplesModel(num_classes, image_shape)

    def start(self, model: SamplesModel, generator: torch.Generator) -> _Kept:
        """Read the images, or have the callable make them.

        Raises:
            BenchError: They cannot be read, or do not have the shape of the data set's images.
        """
        images, labels, where = self._found(generator.initial_seed())
        if images.shape[1:] != model.image_shape:
            raise BenchError(
                f"{where}: images of shape {images.shape[1:]} (channels, height, width), and the data set has "
                f"{model.image_shape}: bring them to that shape"
            )
        if len(labels) and int(labels.max()) >= model.num_classes:
            raise BenchError(f"{where}: label {int(labels.max())}, and the data set has {model.num_classes} classes")
        return _Kept(_eight_bits(images), labels)

    def attach(self, model: SamplesModel, state: Mapping[str, Tensor]) -> None:
        """Give the model its images."""
        images, labels = state["images"], state["labels"]
        model.kept = Samples(images.float() / 255, labels, torch.ones_like(labels))

    def training_step(
        self,
        model: SamplesModel,  # noqa: ARG002
        batches: Mapping[str, Batch],  # noqa: ARG002
        state: Any,  # noqa: ARG002
        iteration: Iteration,  # noqa: ARG002
    ) -> Step:
        """Never called: there is nothing to train."""
        raise BenchError("family 'samples' is not trained")

    def _found(self, seed: int) -> tuple[NDArray[Any], NDArray[np.int64], str]:
        """Images (N, C, H, W), labels (N,), and what to call them in messages."""
        config = self.config
        try:
            if config.callable is not None:
                where = f"callable {config.callable!r}"
                return *_called(config.callable, config.count, seed, where), where
            assert config.path is not None
            path = Path(config.path)
            return *(_of_archive(path) if path.is_file() else _of_folder(path)), str(path)
        except ValueError as error:
            raise BenchError(str(error)) from error


def _eight_bits(images: NDArray[Any]) -> NDArray[np.uint8]:
    return images if images.dtype == np.uint8 else np.round(images * 255).astype(np.uint8)


def _unlabelled(images: NDArray[Any]) -> NDArray[np.int64]:
    return np.full(len(images), -1, dtype=np.int64)


def _called(name: str, count: int, seed: int, where: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    try:
        function: Any = import_object(name)
    except (ImportError, ValueError) as error:
        raise BenchError(f"{where} cannot be imported: {error}") from error
    made = function(count, seed)
    images, labels = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    array = _array(images)
    if array is None:
        raise BenchError(f"{where} returned a {type(images).__name__}, expected an array or tensor of images")
    found = images_of(array, where)
    if len(found) != count:
        raise BenchError(f"{where} returned {len(found)} images, and was asked for {count}")
    if labels is None:
        return found, _unlabelled(found)
    numbers = _array(labels)
    if numbers is None:
        raise BenchError(f"{where} returned labels as a {type(labels).__name__}, expected an array or tensor")
    return found, labels_of(numbers, len(found), f"{where}, labels")


def _array(value: Any) -> NDArray[Any] | None:
    if isinstance(value, Tensor):
        return np.asarray(value.detach().cpu().numpy())
    return value if isinstance(value, np.ndarray) else None


def _of_archive(path: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    try:
        arrays = load_arrays(path, limit=memory_limit())
    except DamagedFileError as error:
        raise BenchError(f"{path} {error.problem}") from error
    name = next((name for name in _IMAGES if name in arrays), None)
    if name is None:
        close = {held: nearest(held, _IMAGES) for held in arrays}
        hint = next((f"; for {held!r} did you mean {meant!r}?" for held, meant in close.items() if meant), "")
        raise BenchError(f"{path}: has the arrays {', '.join(arrays) or 'none'}; expected images (or arr_0){hint}")
    images = images_of(arrays[name], f"{path}, {name}")
    given = next((name for name in _LABELS if name in arrays), None)
    labels = labels_of(arrays[given], len(images), f"{path}, {given}") if given is not None else _unlabelled(images)
    return images, labels


def _of_folder(path: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    files = image_files(path)
    if not files:
        raise BenchError(f"there is no image below {path}")
    found: list[NDArray[np.uint8]] = []
    for file in files:
        try:
            size = (found[0].shape[1], found[0].shape[2]) if found else None
            image = decode(read_measured(file, FILE_BYTES), str(file), size)
        except DamagedFileError as error:
            raise BenchError(f"{file}: {error.problem}") from error
        except ValueError as error:
            raise BenchError(first_line(error)) from error
        if not found:
            check_memory(2 * len(files) * image.size, f"{path}: {len(files):,} images")
        found.append(image)
    channels = max(len(image) for image in found)
    images = np.stack([np.repeat(image, channels // len(image), axis=0) for image in found])
    return images, _unlabelled(images)
