"""When attacks wait for the device.

A GPU works behind the host, which queues operations ahead of it. Reading a value, such as whether any image is broken,
makes the host wait until the queue is empty, and the GPU then waits for the host. So attacks look only at every
`CHECK_EVERY`-th step whether images can be dropped. Until then a settled image stays in the batch, and nothing of it is
recorded, so a result does not depend on the number of steps between two looks.

On a CPU values are there when they are read: attacks look at every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["CHECK_EVERY", "check_every", "known_empty"]

CHECK_EVERY = 4
"""Steps between two looks for images to drop, on a device other than the CPU. An image that is settled at once costs at
most three steps more."""


def check_every(device: torch.device) -> int:
    """Steps between two looks for images to drop."""
    return 1 if device.type == "cpu" else CHECK_EVERY


def known_empty(mask: Tensor) -> bool:
    """Whether no entry of a mask is true; false if that can only be known by waiting for a device."""
    return mask.device.type == "cpu" and not bool(mask.any())
