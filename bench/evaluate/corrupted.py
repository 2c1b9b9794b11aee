"""Makes the corruptions of Hendrycks and Dietterich (ICLR 2019) with the library imagecorruptions-imaug. Light.

The severities are those of ImageNet-C, which were chosen for images of about 224 pixels; the authors chose milder ones
for CIFAR-10-C. On small images the same severity is therefore a stronger corruption (docs/robustness.md).

The library's front door, ``corrupt``, refuses images below 32 pixels and turns grey images into colour. Its fifteen
functions are called instead. They are the same functions, and take grey images, too. `unfit` says which of them do not
do what they are named for on images of a size.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bench.rng import derive_seed, preserved

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.spec import Split

__all__ = ["LIBRARY", "VERSION", "corrupt", "corrupted", "eight_bits", "kept_corruptions", "not_installed", "unfit"]

LIBRARY = "imagecorruptions-imaug"
VERSION = "1.1.5"
"""The only version that is used, because another one may make other pixels. A new one needs a new version of the
evaluation ``corruption``, and the same number in pyproject.toml.
"""

_INSTALL = "pip install 'gmmc-bench[corruptions]'"
_MAKERS = ("numpy", "scipy", "scikit-image", "opencv-python", "opencv-python-headless", "pillow", "numba")
"""What the library makes pixels with."""
_OWN_SEED = ("impulse_noise", "glass_blur")
"""These functions take a seed; the others draw from NumPy's global generator."""

# By severity, from the library's source.
_MOTION = {
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "snow": ((10, 4), (12, 4), (12, 8), (12, 8), (12, 12)),
}
"""Radius and standard deviation of the motion, in pixels; snow falls with such a motion."""
_EXCHANGED = (1, 2, 2, 3, 4)
"""Largest distance of two pixels that ``glass_blur`` exchanges."""
_ZOOM = (1.10, 1.15, 1.20, 1.24, 1.30)
"""Largest enlargement of ``zoom_blur``."""
_PIXELATED = (0.6, 0.5, 0.4, 0.3, 0.25)
"""Size to which ``pixelate`` reduces an image, as a share."""
_LARGEST_LOSS = 0.1
"""Largest share of its weight that a motion may lose beyond the border of the image. The library then stops the motion,
which darkens the image by this share: a tenth is what ``brightness`` adds at its mildest.
"""


def not_installed() -> str | None:
    """Why the library cannot be used, and how to install it; None if it can."""
    try:
        found = metadata.version(LIBRARY)
    except metadata.PackageNotFoundError:
        return f"needs {LIBRARY} ({_INSTALL})"
    return None if found == VERSION else f"needs {LIBRARY} {VERSION}, found {found} ({_INSTALL})"


def unfit(corruption: str, severity: int, height: int, width: int) -> str | None:
    """Why the library cannot make a corruption for images of a size, or None.

    Args:
        corruption: One of `bench.data.cifar_c.CORRUPTIONS`.
        severity: 1 to 5.
        height: Pixels.
        width: Pixels.
    """
    side = min(height, width)
    if corruption in _MOTION:
        lost = _lost(*_MOTION[corruption][severity - 1], side)
        if lost > _LARGEST_LOSS:
            return f"the motion leaves the image and would darken it by up to {lost:.0%}"
    elif corruption == "glass_blur":
        distance = _EXCHANGED[severity - 1]
        if side <= 2 * distance:
            return f"no pixel would be exchanged: the distance is {distance} pixels"
    elif corruption == "zoom_blur":
        zoom = _ZOOM[severity - 1]
        if math.ceil(side / zoom) == side == round(side * zoom):
            return f"an enlargement by {zoom - 1:.0%} changes no pixel"
    elif corruption == "pixelate" and int(side * _PIXELATED[severity - 1]) < 1:
        return "no pixel would be left"
    return None


def _lost(radius: int, deviation: float, side: int) -> float:
    """Share of the weight of a motion that is as far as the side of an image, or farther."""
    weights = [math.exp(-(step**2) / (2 * deviation**2)) for step in range(2 * radius + 1)]
    return sum(weights[side:]) / sum(weights)


def corrupted(
    images: NDArray[np.uint8], ids: Sequence[int] | NDArray[np.int64], corruption: str, severity: int, seed: int
) -> NDArray[np.uint8]:
    """Images under one corruption; each depends on (seed, id, corruption, severity) and its own pixels alone.

    Args:
        images: (N, C, H, W), grey or colour.
        ids: (N,) identities of the items.
        corruption: One of `bench.data.cifar_c.CORRUPTIONS`.
        severity: 1 to 5.
        seed: Seed of the evaluation.

    Returns:
        (N, C, H, W).
    """
    import numpy as np

    made = np.empty_like(images)
    with preserved():
        for place, (image, identity) in enumerate(zip(images, ids, strict=True)):
            own = derive_seed(seed, "corruption", corruption, severity, int(identity)) % 2**31
            made[place] = corrupt(image, corruption, severity, own)
    return made


def kept_corruptions(
    images: NDArray[np.uint8], ids: NDArray[np.int64], seed: int, name: str
) -> Callable[[str, int], NDArray[np.uint8]]:
    """`corrupted` of these images by corruption and severity, from the user's cache if any job has made them before.

    They are the same for all models, and all fifteen of an image of 32x32 take 12 ms a severity on one core.

    Args:
        images: As of `corrupted`.
        ids: As of `corrupted`.
        seed: As of `corrupted`.
        name: Name of the data set, for the names of files. Which images are right is decided by their content.
    """
    from bench.data.decoded import decoded

    called = re.sub(r"[^\w.-]+", "_", name)[-40:]  # the name may be a path
    shape = "x".join(map(str, images.shape))
    facts = [
        *(f"{package} {_version(package)}" for package in (LIBRARY, *_MAKERS)),
        hashlib.sha256(images.tobytes()).hexdigest(),
        hashlib.sha256(ids.tobytes()).hexdigest(),
    ]

    def made(corruption: str, severity: int) -> NDArray[np.uint8]:
        return decoded(
            f"{called}-{shape}-seed{seed}-{corruption}-{severity}",
            facts,
            lambda: corrupted(images, ids, corruption, severity, seed),
            code=[Path(__file__)],
        )

    return made


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def corrupt(image: NDArray[np.uint8], corruption: str, severity: int, seed: int) -> NDArray[np.uint8]:
    """One image under one corruption. Seeds NumPy's global generator.

    Args:
        image: (C, H, W), grey or colour.
        corruption: One of `bench.data.cifar_c.CORRUPTIONS`.
        severity: 1 to 5.
        seed: 0 to 2^31 - 1.

    Returns:
        (C, H, W).

    Raises:
        ValueError: The image has another number of channels.
    """
    import numpy as np
    from imagecorruptions import corruption_dict
    from PIL import Image

    channels = len(image)
    if channels not in (1, 3):
        raise ValueError(f"the image has {channels} channels, expected 1 or 3")
    # The library cannot blur grey images by motion. Each channel is blurred alike, so the first of three is the result.
    grey = channels == 1 and corruption != "motion_blur"
    given = image[0] if grey else np.repeat(image, 3 // channels, axis=0).transpose(1, 2, 0)
    np.random.seed(seed)  # noqa: NPY002 - the library draws from the legacy global generator
    more = {"seed": seed} if corruption in _OWN_SEED else {}
    made = corruption_dict[corruption](Image.fromarray(np.ascontiguousarray(given)), severity, **more)
    pixels: NDArray[np.uint8] = np.asarray(made).astype(np.uint8)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)[:channels]


def eight_bits(split: Split) -> NDArray[np.uint8]:
    """The images of a split as uint8, (N, C, H, W); values in [0, 1] are rounded to the nearest of 256 levels."""
    import numpy as np

    if split.images.dtype == np.uint8:
        return split.images.astype(np.uint8, copy=False)
    rounded: NDArray[np.uint8] = np.rint(split.images * 255).astype(np.uint8)
    return rounded
