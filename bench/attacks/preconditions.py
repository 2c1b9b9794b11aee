"""What images and models attacks cannot take, known before anything is computed. Imports no torch.

A library that meets such images ends in an error of its own, in the middle of an attack; here it is a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from .definitions import LEAST_CLASSES

__all__ = ["Shape", "of_loss", "of_losses", "of_square"]

Shape = tuple[int, int, int]
"""Channels, height, width."""


def of_loss(attack: str, norm: str, params: Mapping[str, object], shape: Shape, classes: int) -> str | None:
    """Why an attack with one loss is impossible: the loss needs more classes."""
    del norm, shape
    least = LEAST_CLASSES.get(str(params["loss"]), 2)
    if classes >= least:
        return None
    return f"{attack} with loss {params['loss']} needs at least {least} classes, there are {classes}"


def of_losses(attack: str, norm: str, params: Mapping[str, object], shape: Shape, classes: int) -> str | None:
    """Why an attack with several losses is impossible: every one needs more classes."""
    del norm, shape
    losses = params["losses"]
    assert isinstance(losses, list | tuple)  # like its default
    if any(classes >= LEAST_CLASSES.get(str(loss), 2) for loss in losses):
        return None
    return f"{attack}: none of the losses {', '.join(map(str, losses))} applies to a model with {classes} classes"


def of_square(attack: str, norm: str, params: Mapping[str, object], shape: Shape, classes: int) -> str | None:
    """Why Square of torchattacks (3.5.1) is impossible.

    In L2 it lays tiles of a fifth of the height over the image, as many as fit without the margin that it leaves at the
    top and on the left, and moves a square window of an odd side of about sqrt(p_init H W), at least 3. Tiles or
    windows that leave the image end in an error. In L_inf what leaves the image is cut off.
    """
    del classes
    _, height, width = shape
    start = params["p_init"]
    assert isinstance(start, int | float)  # like its default
    if norm != "l2":
        return None
    size = f"got {height}x{width}"
    tile = height // 5
    if tile == 0:
        return f"{attack} with norm l2 needs images of a height of at least 5, {size}"
    margin = (height - 5 * tile) // 2
    # A tile of one pixel that lies outside is cut off without an error.
    if tile > 1 and any(margin + side // tile * tile > side for side in (height, width)):
        return f"{attack} with norm l2 cannot lay its tiles of {tile}x{tile} over such images, {size}"
    window = max(round(math.sqrt(start * height * width)), 3)
    window += window % 2 == 0
    if window > min(height, width):
        return (
            f"{attack} with norm l2 needs images that hold its first window of {window}x{window} "
            f"(p_init = {start:g}), {size}"
        )
    return None
