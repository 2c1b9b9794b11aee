"""What a user's own data say about themselves: which augmentation they allow, and to which size they are brought.

An archive has these as arrays beside the images, a folder as keys of the file ``bench-data.toml``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy.typing as npt

from bench.data.content import shown
from bench.data.spec import LARGEST_SIDE, Augmentation
from bench.errors import DamagedFileError, did_you_mean, first_line
from bench.files.checksums import read_measured

__all__ = ["FILE", "KEYS", "OwnOptions", "of_archive", "of_folder"]

FILE = "bench-data.toml"
"""Name of the file in a folder of images."""
KEYS = ("augmentation", "resize")
_PAD = 4
"""Pixels by which a crop moves an image at most (`bench.data.augment`)."""
_BYTES = 2**16


@dataclass(frozen=True)
class OwnOptions:
    """Options of a user's own data.

    Attributes:
        augmentation: The augmentation that training may apply.
        resize: Height and width to which every image is brought; None if they stay as they are.
    """

    augmentation: Augmentation = "none"
    resize: tuple[int, int] | None = None

    def check(self, image_shape: tuple[int, int, int], where: str) -> None:
        """Refuse an augmentation that the images are too small for.

        Args:
            image_shape: Channels, height, width as loaded.
            where: Name of the data, for messages.

        Raises:
            ValueError: They are not larger than the border that a crop adds.
        """
        height, width = image_shape[1:]
        if self.augmentation != "none" and min(height, width) <= _PAD:
            raise ValueError(
                f"{where}: augmentation {self.augmentation!r} moves images by up to {_PAD} pixels, and they have"
                f" {height}x{width}; expected larger images, or 'none'"
            )


def of_archive(arrays: Mapping[str, npt.NDArray[Any]], where: str) -> OwnOptions:
    """The options among the arrays of an archive: ``augmentation``, a text, and ``resize``, two whole numbers.

    Raises:
        ValueError: A value is not valid; the message begins with ``where``.
    """
    return _options({key: arrays[key].tolist() for key in KEYS if key in arrays}, where)


def of_folder(root: Path) -> tuple[OwnOptions, bytes | None]:
    """The options of a folder, and the bytes of its `FILE`, None without one.

    Raises:
        ValueError: The file cannot be read, or a key or value is not valid; the message begins with its name.
    """
    path = root / FILE
    if not path.exists():
        return OwnOptions(), None
    try:
        content = read_measured(path, _BYTES)
        values = tomllib.loads(content.decode("utf-8"))
    except DamagedFileError as error:
        raise ValueError(f"{shown(path)}: {error.problem}") from error
    except (ValueError, RecursionError) as error:  # no TOML, or not UTF-8
        raise ValueError(f"{shown(path)}: is not valid TOML: {first_line(error)}") from error
    for key in values:
        if key not in KEYS:
            raise ValueError(f"{shown(path)}: unknown key {shown(key)!r}; {did_you_mean(key, KEYS)}")
    return _options(values, shown(path)), content


def _options(values: Mapping[str, Any], where: str) -> OwnOptions:
    allowed = get_args(Augmentation)
    augmentation, resize = values.get("augmentation", "none"), values.get("resize")
    if augmentation not in allowed:
        hint = did_you_mean(augmentation, allowed) if isinstance(augmentation, str) else f"valid: {', '.join(allowed)}"
        raise ValueError(f"{where}, augmentation: {_told(augmentation)} is unknown; {hint}")
    if resize is None:
        return OwnOptions(augmentation)
    whole = isinstance(resize, list) and len(resize) == 2 and all(type(side) is int for side in resize)
    if not whole or not all(1 <= side <= LARGEST_SIDE for side in resize):
        raise ValueError(
            f"{where}, resize: {_told(resize)}; expected height and width as two whole numbers of 1 to"
            f" {LARGEST_SIDE:,}, as in [32, 32]"
        )
    return OwnOptions(augmentation, (resize[0], resize[1]))


def _told(value: Any) -> str:
    text = repr(value)
    return shown(text if len(text) <= 60 else f"{text[:60]}…")
