"""The FID Inception from a local file, through the pytorch-fid package; nothing is downloaded."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import BenchError
from bench.files.checksums import LIMIT, read_measured

__all__ = ["Inception"]

BATCH = 50


class Inception:
    """Features and class probabilities of images.

    Args:
        path: The weights file.
        device: Torch device.
        published: First digits of the SHA-256 of the published file; empty: any file is accepted.

    Raises:
        DamagedFileError: The file is missing or cannot be read.
        BenchError: The SHA-256 of the file does not begin with ``published``.
    """

    def __init__(self, path: Path, device: str, *, published: str = "") -> None:
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
            self._network = inception.InceptionV3([3], resize_input=True, normalize_input=True)
        self._network.to(device).eval()
        # The package drops the 1008-way layer, which the score needs, without its bias (graph of improved-gan).
        self._classes = weights["fc.weight"].double()
        self._device = device

    @torch.no_grad()
    def outputs(
        self, images: Tensor, progress: Callable[[Mapping[str, Any]], None]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """pool3 features (n, 2048) and log-probabilities (n, 1008), in float64.

        Args:
            images: (n, C, H, W) in [0, 1]; grey images are repeated to three channels.
            progress: Called with the numbers of finished and of all images.
        """
        features = []
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH].to(self._device)
            if batch.shape[1] == 1:
                batch = batch.expand(-1, 3, -1, -1)
            features.append(self._network(batch)[0].flatten(1).double().cpu())
            progress({"done": start, "total": len(images)})
        pool = torch.cat(features)
        log_probs = torch.log_softmax(pool @ self._classes.T, dim=1)
        return pool.numpy(), log_probs.numpy()
