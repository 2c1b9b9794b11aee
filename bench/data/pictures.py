"""Decodes a PNG or JPEG picture from the bytes of its file; its size is checked before it is decoded."""

from __future__ import annotations

import io
import warnings

import numpy as np
import numpy.typing as npt

from bench.data.measure import PIXELS

__all__ = ["FORMATS", "decode"]

FORMATS = ("PNG", "JPEG")
"""The decoders that are tried, for any file name. Others may start programs or have more faults."""


def decode(content: bytes, where: str, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """The pixels of a picture.

    Args:
        content: The bytes of the file.
        where: Name of the file, for messages.
        size: Height and width that it must have, if known; read from the header, before anything is unpacked.

    Returns:
        uint8 of shape (C, H, W), C of 1 (grey) or 3 (colour).

    Raises:
        ValueError: It is neither PNG nor JPEG, is damaged, has more than `PIXELS` pixels or another size, or its
            pixels are not 8-bit grey or colour without transparency. The message begins with ``where``.
    """
    from PIL import Image, UnidentifiedImageError

    problem = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damage that it can skip, and of sizes that are bounded here
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
                grey = image.mode in ("1", "L")
                if width * height > PIXELS:
                    problem = f"has {height}x{width} pixels; the limit is {PIXELS:,} pixels"
                elif size is not None and (height, width) != size:
                    problem = f"has {height}x{width} pixels (height x width), expected {size[0]}x{size[1]}"
                elif not grey and (image.mode not in ("RGB", "P") or "transparency" in image.info):
                    also = " with transparency" if "transparency" in image.info else ""
                    expected = "8-bit grey or colour without transparency"
                    problem = f"has pixels of mode {image.mode}{also}; expected {expected}"
                elif grey:
                    return np.asarray(image.convert("L"), dtype=np.uint8)[None]
                else:
                    return np.ascontiguousarray(np.asarray(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1))
        except UnidentifiedImageError:
            problem = "cannot be read as an image: it is neither PNG nor JPEG"
        except Image.DecompressionBombError:
            problem = f"has more than {PIXELS:,} pixels, the limit"
        # Over a damaged picture Pillow may raise OSError, ValueError, SyntaxError, struct.error, zlib.error, KeyError,
        # IndexError, MemoryError and others.
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
            problem = f"cannot be read as an image: {reason}"
    raise ValueError(f"{where}: {problem}")
