"""The FID Inception from a local file, through the pytorch-fid package; nothing is downloaded."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bench.errors import BenchError
from bench.files.checksums import LIMIT, read_measured

__all__ = ["Inception", "network_input"]

BATCH = 50
SIDE = 299
"""Height and width of the network's input."""

Resize = Literal["pytorch", "tf1"]
Pixels = Literal["float", "uint8"]


def network_input(images: Tensor, *, resize: Resize = "pytorch", pixels: Pixels = "float") -> Tensor:
    """The images as the network gets them, (n, 3, 299, 299) in about [-1, 1].

    ``pytorch`` is what pytorch-fid does: bilinear between half-pixel centres, then 2 x - 1. ``tf1`` is what the graph
    of 2015 and torch-fidelity do: bilinear with the source position i * side / 299 of output pixel i, then
    (255 x - 128) / 128. At 32 pixels the two grids differ by up to half a source pixel.

    Args:
        images: (n, C, H, W) in [0, 1]; grey images are repeated to three channels.
        resize: As above.
        pixels: ``uint8`` rounds each value to the nearest of 256 grey levels first, as a picture file holds them;
            torch-fidelity takes no others. Values are never truncated, which would darken images by half a level.
    """
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    levels = images * 255
    if pixels == "uint8":
        levels = levels.round().clamp(0, 255)
        images = levels / 255
    if resize == "pytorch":
        return 2 * functional.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False) - 1
    return (_asymmetric(_asymmetric(levels, 2), 3) - 128) / 128


def _asymmetric(images: Tensor, axis: int) -> Tensor:
    """Linear interpolation along an axis as in TensorFlow 1 with ``align_corners=False``: pixel i of the result lies at
    i * side / 299 of the source, and the last source pixel goes on beyond its position.
    """
    side = images.shape[axis]
    position = torch.arange(SIDE, device=images.device, dtype=images.dtype) * (side / SIDE)
    lower = position.floor().long()
    upper = (lower + 1).clamp(max=side - 1)
    shape = [1] * images.ndim
    shape[axis] = SIDE
    weight = (position - lower).reshape(shape)
    first, second = images.index_select(axis, lower), images.index_select(axis, upper)
    return first + (second - first) * weight


class Inception:
    """Features and class probabilities of images; a `bench.evaluate.features.FeatureNetwork`.

    Args:
        path: The weights file.
        device: Torch device.
        published: First digits of the SHA-256 of the published file; empty: any file is accepted.
        resize: As of `network_input`.
        pixels: As of `network_input`.

    Attributes:
        name: Name of the network in records.
        digest: SHA-256 of the weights file.
        batch_size: Images in one pass.

    Raises:
        DamagedFileError: The file is missing or cannot be read.
        BenchError: The SHA-256 of the file does not begin with ``published``.
    """

    name = "inception-2015-12-05"
    batch_size = BATCH

    def __init__(
        self,
        path: Path,
        device: str,
        *,
        published: str = "",
        resize: Resize = "pytorch",
        pixels: Pixels = "float",
    ) -> None:
        from pytorch_fid import inception

        # The file is read once, so that the loaded content is the hashed content.
        content = read_measured(path, LIMIT)
        self.digest = hashlib.sha256(content).hexdigest()
        if not self.digest.startswith(published):
            raise BenchError(
                f"{path} is not the published Inception: its SHA-256 begins {self.digest[:8]}, expected {published}"
            )
        # The package downloads its weights at construction; it gets ours instead. The file is a plain state dict.
        weights: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        with mock.patch.object(inception, "load_state_dict_from_url", return_value=weights):
            self._network = inception.InceptionV3([3], resize_input=False, normalize_input=False)
        self._network.to(device).eval()
        # The package drops the 1008-way layer, which the score needs, without its bias (graph of improved-gan).
        self._classes = weights["fc.weight"].double()
        self._device = device
        self._resize, self._pixels = resize, pixels

    @torch.no_grad()
    def features(self, images: Tensor, progress: Callable[[Mapping[str, Any]], None]) -> NDArray[np.float32]:
        """pool3 features (n, 2048).

        Args:
            images: (n, C, H, W) in [0, 1]; grey images are repeated to three channels.
            progress: Called with the numbers of finished and of all images.
        """
        found = []
        for start in range(0, len(images), BATCH):
            batch = network_input(
                images[start : start + BATCH].to(self._device), resize=self._resize, pixels=self._pixels
            )
            found.append(self._network(batch)[0].flatten(1).float().cpu())
            progress({"done": start, "total": len(images)})
        return torch.cat(found).numpy()

    def log_probs(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-probabilities (n, 1008), in float64, of pool3 features."""
        return torch.log_softmax(torch.from_numpy(features).double() @ self._classes.T, dim=1).numpy()
