"""How many images an attack takes at once on a GPU, which small batches leave idle: as many as its memory holds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.errors import tells_of_memory

from .frozen import frozen
from .gradients import input_gradient

__all__ = ["MOST", "batch_size_for", "fitting"]

MOST = 512
"""Most images at once. A kill loses the batch that is under attack."""
FILLED = 0.6
"""Part of the memory that is planned with. The columns of an attack, the judge and larger workspaces of convolutions
need the rest.
"""


def batch_size_for(model: nn.Module, images: Tensor, least: int, share: float = 1.0) -> int:
    """Images per forward pass for an attack whose results do not depend on it beyond the last bits of kernels.

    On a CPU it is ``least``. On a GPU two forward passes with input gradients are measured. As long as they have room,
    the answer depends on the model, the shape of the images, the GPU and the share alone, not on what else runs on it,
    so that a resumed attack finds its pieces.

    Args:
        model: The model under attack.
        images: (N, C, H, W), the attacked images, on the CPU.
        least: Images per forward pass if the GPU has no room for more.
        share: Part of the GPU that the attack may fill, in (0, 1].

    Returns:
        ``least`` times a power of two: ``least`` itself, or at most `MOST`, and less than twice what N images need.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if device.type != "cuda":
        return least
    room = FILLED * share * torch.cuda.get_device_properties(device).total_memory
    return fitting(lambda count: _peak(model, images, count, device), room, least, len(images))


def fitting(peak: Callable[[int], float], room: float, least: int, wanted: int) -> int:
    """The batch size whose memory fits into ``room``, if memory grows linearly with the batch.

    Args:
        peak: The most bytes that are held while a number of images is passed; asked for ``least`` and twice that.
        room: Bytes.
        least: The smallest answer, which is also that of a room that is too small.
        wanted: The images that there are to pass; a batch of twice as many is never the answer, nor one above `MOST`
            that is not ``least``.

    >>> fitting(lambda count: 100 + 10 * count, room=6000, least=64, wanted=1000)
    512
    >>> fitting(lambda count: 100 + 10 * count, room=6000, least=64, wanted=130)
    256
    """
    if least >= wanted or 2 * least > MOST:
        return least
    try:
        first, second = peak(least), peak(2 * least)
    except (RuntimeError, MemoryError) as error:
        if tells_of_memory(type(error).__name__, str(error)):
            return least
        raise
    each = max((second - first) / least, 1.0)
    fixed = first - each * least
    found = least
    while found < wanted and 2 * found <= MOST and fixed + each * 2 * found <= room:
        found *= 2
    return found


def _peak(model: nn.Module, images: Tensor, count: int, device: torch.device) -> int:
    """Most bytes of a GPU held during a forward pass of ``count`` images and its input gradient."""
    batch = images[:1].expand(count, *images.shape[1:]).to(device)
    with frozen(model) as view:
        layout = view.memory_format(batch[:1])
        points = batch.contiguous(memory_format=layout).requires_grad_()
        torch.cuda.reset_peak_memory_stats(device)
        input_gradient(view.logits(points).sum(dim=1), points)
    return torch.cuda.max_memory_allocated(device)
