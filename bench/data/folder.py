"""Reads, hashes and checks a user's folder of PNG and JPEG pictures in one pass."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.content import FILE_BYTES, PIXELS, check_memory, check_parts, shown
from bench.data.own_options import FILE, OwnOptions, of_folder
from bench.data.resize import resized
from bench.data.spec import Split
from bench.errors import DamagedFileError, first_line
from bench.files.checksums import read_measured

__all__ = ["FORMATS", "decode", "folder_digest", "read_folder"]

FORMATS = ("PNG", "JPEG")
"""The decoders that are tried, for any file name. Others may start programs or have more faults."""

_SUFFIXES = (".png", ".jpg", ".jpeg")
_LAYOUT = "expected train/CLASS/IMAGE and test/CLASS/IMAGE, or test alone"


def folder_digest(root: Path) -> str:
    """SHA-256 over the relative names and the bytes of the images, in sorted order, and before them the bytes of
    `bench.data.own_options.FILE` if there is one.

    Raises:
        ValueError: The folder has another layout, or an image cannot be read.
    """
    _, stated = of_folder(root)
    digest = _began(stated)
    for _ in _contents(root, _image_files(root), digest):
        pass
    return digest.hexdigest()


def read_folder(root: Path) -> tuple[dict[str, Split], str, OwnOptions]:
    """The parts and the options of a folder by the rules of `bench.data.user.spec_for_path`, and the `folder_digest`.

    Returns:
        uint8 images by part, 64 hexadecimal digits, and the options.

    Raises:
        ValueError: The folder breaks a rule; the message names the file.
    """
    where = shown(root)
    options, stated = of_folder(root)
    files = _image_files(root)
    classes = _classes(root, files)
    digest = _began(stated)
    pixels: list[npt.NDArray[np.uint8]] = []
    size: tuple[int, int] | None = None
    for file, content in _contents(root, files, digest):
        try:
            image = decode(content, shown(file), None if options.resize else size)
        except ValueError as error:
            other = size is not None and "expected" in str(error)
            first = f" as {shown(files[0])} has; resize in {FILE} brings all to one size" if other else ""
            raise ValueError(f"{error}{first}") from error
        if options.resize is not None:
            image = resized(image[None], *options.resize)[0].astype(np.uint8, copy=False)
        if size is None:
            size = (image.shape[1], image.shape[2])
            check_memory(2 * len(files) * image.size, f"{where}: {len(files):,} images of {size[0]}x{size[1]} pixels")
        pixels.append(image)
    channels = max(len(image) for image in pixels)
    parts = [file.relative_to(root).parts[0] for file in files]
    number = {name: index for index, name in enumerate(classes)}
    raw = {}
    for part in dict.fromkeys(parts):
        places = [place for place, own in enumerate(parts) if own == part]
        images = np.stack([np.repeat(pixels[i], channels // len(pixels[i]), axis=0) for i in places])
        raw[part] = Split.numbered(images, [number[files[i].parent.name] for i in places])
    check_parts(raw, where, {index: shown(name) for index, name in enumerate(classes)})
    options.check(next(iter(raw.values())).image_shape, where)
    return raw, digest.hexdigest(), options


def _began(stated: bytes | None) -> hashlib._Hash:
    """A digest that has read the file of options, if there is one."""
    digest = hashlib.sha256()
    if stated is not None:
        digest.update(FILE.encode() + b"\0" + hashlib.sha256(stated).digest())
    return digest


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
            problem = f"cannot be read as an image: {first_line(error)}"
    raise ValueError(f"{where}: {problem}")


def _contents(root: Path, files: list[Path], digest: Any) -> Iterator[tuple[Path, bytes]]:
    """Each file with its bytes, read once; ``digest`` is updated with the name and the bytes."""
    for file in files:
        try:
            content = read_measured(file, FILE_BYTES)
        except DamagedFileError as error:
            raise ValueError(f"{shown(file)}: {error.problem}") from error
        # The name as bytes of the file system, since it need not be UTF-8.
        digest.update(os.fsencode(file.relative_to(root).as_posix()) + b"\0")
        digest.update(hashlib.sha256(content).digest())
        yield file, content


def _classes(root: Path, files: list[Path]) -> list[str]:
    """Sorted names of the classes below train, or below test if there is no train."""
    by_part: dict[str, set[str]] = {}
    for file in files:
        by_part.setdefault(file.relative_to(root).parts[0], set()).add(file.parent.name)
    classes = by_part.get("train", by_part["test"])
    strange = sorted(by_part["test"] - classes)
    if strange:
        raise ValueError(
            f"{shown(root / 'test')}: class {shown(strange[0])!r} has no folder below {shown(root / 'train')}"
        )
    return sorted(classes)


def _image_files(root: Path) -> list[Path]:
    """Every image below root/train/CLASS and root/test/CLASS, in sorted order."""
    parts = [entry for entry in _entries(root) if entry.name != FILE]
    if {entry.name for entry in parts} not in ({"train", "test"}, {"test"}):
        raise ValueError(f"{shown(root)}: holds {_named(parts)}; {_LAYOUT}")
    files: list[Path] = []
    for part in parts:
        before = len(files)
        for folder in _visible(part, "folder"):
            inside = _visible(folder, "file")
            if not inside:
                raise ValueError(f"{shown(folder)}: holds no image; {_LAYOUT}")
            files.extend(inside)
        if len(files) == before:
            raise ValueError(f"{shown(part)}: holds no class; {_LAYOUT}")
    return files


def _named(entries: list[Path]) -> str:
    names = [shown(entry.name) for entry in entries[:8]]
    more = f" and {len(entries) - 8} more" if len(entries) > 8 else ""
    return (", ".join(names) or "nothing") + more


def _visible(folder: Path, kind: str) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{shown(folder)}: is {'no folder' if folder.is_symlink() else 'a file'}; {_LAYOUT}")
    entries = _entries(folder)
    for entry in entries:
        if kind == "folder" and not entry.is_dir():
            raise ValueError(f"{shown(entry)}: is not the folder of a class; {_LAYOUT}")
        if kind == "file" and not (entry.is_file() and entry.suffix.lower() in _SUFFIXES):
            raise ValueError(f"{shown(entry)}: is not an image ({', '.join(_SUFFIXES)}); {_LAYOUT}")
    return entries


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder, sorted, without names that begin with a dot.

    Raises:
        ValueError: The folder cannot be read.
    """
    try:
        return [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    except OSError as error:
        raise ValueError(f"{shown(folder)}: cannot be read: {error.strerror or error}") from error
