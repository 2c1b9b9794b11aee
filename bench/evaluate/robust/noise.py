"""A picture of adversarial noise: images, what the attack made of them, and the difference (GMMC paper, Table 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["noise_grid"]

COLUMNS = 10
"""Images in the picture."""


def noise_grid(
    images: NDArray[np.float32], adversarials: NDArray[np.floating], success: NDArray[np.bool_]
) -> NDArray[np.uint8] | None:
    """A grid of three rows: the first broken images, their adversarial images, and the noise between them.

    Each noise is enlarged by a factor of its own, so that its largest value reaches black or white; grey is no noise.

    Args:
        images: (N, C, H, W) in [0, 1].
        adversarials: (N, C, H, W) in [0, 1].
        success: (N,) whether the attack broke the image.

    Returns:
        uint8 of shape (3 (H + 1) - 1, M (W + 1) - 1, C) with M <= 10 images; None if no image was broken.

    >>> import numpy as np
    >>> image, moved = np.full((1, 1, 1, 1), 0.5), np.full((1, 1, 1, 1), 0.4)
    >>> noise_grid(image, moved, np.array([True]))[::2, 0, 0].tolist()  # less than before is black
    [128, 102, 0]
    """
    import numpy as np

    chosen = np.flatnonzero(success)[:COLUMNS]
    if not len(chosen):
        return None
    before, after = images[chosen].astype(np.float64), adversarials[chosen].astype(np.float64)
    noise = after - before
    largest = np.abs(noise).max(axis=(1, 2, 3), keepdims=True)
    shown = 0.5 + 0.5 * noise / np.where(largest > 0, largest, 1.0)
    _, channels, height, width = before.shape
    grid = np.full((3 * (height + 1), len(chosen) * (width + 1), channels), 128, dtype=np.uint8)
    for row, pictures in enumerate((before, after, shown)):
        pixels = (np.clip(pictures, 0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
        for column, pixel in enumerate(pixels):
            top, left = row * (height + 1), column * (width + 1)
            grid[top : top + height, left : left + width] = pixel
    return grid[:-1, :-1]
