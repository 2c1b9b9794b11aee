"""Sets of photographs of any size: Textures (DTD), Places365 and Tiny ImageNet, as out-of-distribution data.

No checksums of their single pictures are published, but one of the archive of each. So the pictures are read from the
archive, whose bytes are verified, and without it from the folder into which it was unpacked, which cannot be verified.
"""

from __future__ import annotations

import io
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import numpy.typing as npt

from bench.data.content import FILE_BYTES, PIXELS
from bench.data.decoded import decoded, marks
from bench.data.published import exists, read_verified
from bench.data.resize import resized, to_channels
from bench.data.spec import DamagedData, ImageShape, Split
from bench.errors import DamagedFileError, first_line
from bench.files.checksums import Checksum, read_measured

__all__ = [
    "PLACES365",
    "TEXTURES",
    "TINY_IMAGENET",
    "Pictures",
    "fitted",
    "load_places365",
    "load_textures",
    "load_tiny_imagenet",
    "picture",
]

_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Pictures:
    """The pictures of a data set, in an archive or unpacked.

    Attributes:
        name: Name of the data set.
        archive: The archive below the data root, where torchvision leaves it.
        md5: Published MD5 of the archive.
        inside: Folder of the pictures in the archive.
        folder: The same folder unpacked, below the data root.
        count: Number of pictures.
    """

    name: str
    archive: str
    md5: str
    inside: str
    folder: str
    count: int

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the data set."""
        return f"md5:{self.md5}"

    def find(self, root: Path) -> str | None:
        """None if the archive or the folder is there, else a sentence that says where to put which."""
        if exists(root / self.archive) or (root / self.folder).is_dir():
            return None
        return (
            f"{root / self.archive} not found; put the archive there, it need not be unpacked"
            f" (or its pictures into {root / self.folder}, whose pixels cannot be verified)"
        )

    def checksums(self, root: Path) -> tuple[Checksum, ...]:
        """The archive with its published checksum; empty if only the folder is there."""
        return (Checksum(root / self.archive, self.md5, "md5"),) if exists(root / self.archive) else ()

    def load(self, root: Path, shape: ImageShape) -> Split:
        """All pictures, unlabelled, in the order of their file names: uint8 of shape (n, *shape), by `fitted`.

        They are decoded once (`bench.data.decoded`).

        Raises:
            DamagedData: The archive has another MD5 than published, pictures are missing, or one cannot be read.
        """
        packed = exists(root / self.archive)
        try:
            files = [root / self.archive] if packed else self._unpacked(root)
            facts = [self.md5, *marks(files)]
        except OSError as error:
            raise DamagedData(f"{error.filename or root / self.folder} cannot be read: {error.strerror}") from error

        def make() -> npt.NDArray[np.uint8]:
            contents = self._archived(root) if packed else _contents(files)
            small = {path.name: fitted(picture(content, path, self._again), shape) for path, content in contents}
            if len(small) != self.count:
                where = root / (self.archive if packed else self.folder)
                raise DamagedData(f"{where} holds {len(small):,} pictures, expected {self.count:,}; {self._again}")
            return np.stack([small[name] for name in sorted(small)])

        return Split.numbered(decoded(f"{self.name}-{'x'.join(map(str, shape))}", facts, make))

    @property
    def _again(self) -> str:
        return f"get {PurePosixPath(self.archive).name} again"

    def _unpacked(self, root: Path) -> list[Path]:
        """The files of the pictures below the folder.

        Raises:
            DamagedData: Their number is wrong.
        """
        found = sorted(path for path in (root / self.folder).rglob("*") if _is_picture(path.name))
        if len(found) != self.count:
            raise DamagedData(
                f"{root / self.folder} holds {len(found):,} pictures, expected {self.count:,}; {self._again}"
            )
        return found

    def _archived(self, root: Path) -> Iterator[tuple[Path, bytes]]:
        """The pictures in the verified bytes of the archive, in its order; nothing is written to the disk.

        Raises:
            DamagedData: It has another MD5 than published, or a picture in it cannot be unpacked or is too large.
        """
        archive = root / self.archive
        content = io.BytesIO(read_verified(Checksum(archive, self.md5, "md5")))
        try:
            if archive.suffix == ".zip":
                with zipfile.ZipFile(content) as unzipped:
                    for entry in filter(self._is_inside, unzipped.namelist()):
                        yield archive / entry, _bounded(unzipped.open(entry), archive / entry)
            else:
                with tarfile.open(fileobj=content) as tar:
                    for member in tar:
                        file = tar.extractfile(member) if self._is_inside(member.name) else None
                        if file is not None:
                            yield archive / member.name, _bounded(file, archive / member.name)
        # tarfile, zipfile and the decompressors may raise any exception over a damaged archive.
        except Exception as error:
            if isinstance(error, DamagedData):
                raise
            raise DamagedData(f"{archive} cannot be unpacked ({first_line(error)}); {self._again}") from error

    def _is_inside(self, name: str) -> bool:
        return name.removeprefix("./").startswith(f"{self.inside}/") and _is_picture(PurePosixPath(name).name)


TEXTURES = Pictures(
    name="textures",
    archive="dtd/dtd-r1.0.1.tar.gz",
    md5="fff73e5086ae6bdbea199a49dfb8a4c1",
    inside="dtd/images",
    folder="dtd/dtd/images",
    count=5_640,
)
"""The MD5 of this archive and of that of Places365 are those that torchvision publishes."""

PLACES365 = Pictures(
    name="places365",
    archive="val_256.tar",
    md5="e27b17d8d44f4af9a78502beb927f808",
    inside="val_256",
    folder="val_256",
    count=36_500,
)

TINY_IMAGENET = Pictures(
    name="tiny-imagenet",
    archive="tiny-imagenet-200.zip",
    md5="90528d7ca1a48142e341f4ef8d21d0de",
    inside="tiny-imagenet-200/val",
    folder="tiny-imagenet-200/val",
    count=10_000,
)
"""torchvision does not have this set. The MD5 is the one that Avalanche publishes for Stanford's archive."""


def load_textures(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """All 5,640 pictures of DTD (every split of every partition), unlabelled, as `Pictures.load` returns them.

    Raises:
        DamagedData: As `Pictures.load`.
        ValueError: ``image_shape`` is None.
    """
    del like, seed
    return {"test": TEXTURES.load(root, _shape("textures", image_shape))}


def load_places365(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """The 36,500 pictures of the validation part, unlabelled, from the small pictures of 256x256 pixels.

    Raises:
        DamagedData: As `Pictures.load`.
        ValueError: ``image_shape`` is None.
    """
    del like, seed
    return {"test": PLACES365.load(root, _shape("places365", image_shape))}


def load_tiny_imagenet(
    root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int
) -> dict[str, Split]:
    """The 10,000 pictures of the validation part of 64x64 pixels, unlabelled.

    Raises:
        DamagedData: As `Pictures.load`.
        ValueError: ``image_shape`` is None.
    """
    del like, seed
    return {"test": TINY_IMAGENET.load(root, _shape("tiny-imagenet", image_shape))}


def picture(content: bytes, path: Path, again: str, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """The pixels of a published picture in colour: uint8 of shape (3, H, W). Grey ones become colour.

    Args:
        content: The bytes of the file.
        path: The file, for messages.
        again: What to do if it is damaged.
        size: Width and height that it must have, if known; read from the header, before anything is unpacked.

    Raises:
        DamagedData: It is neither JPEG nor PNG, is damaged, has another size, or more than `bench.data.content.PIXELS`
            pixels.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of harmless damage, and of sizes that are bounded here
            with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
                width, height = image.size
                if width * height <= PIXELS and size in (None, (width, height)):
                    pixels: npt.NDArray[np.uint8] = np.asarray(image.convert("RGB"), dtype=np.uint8)
                    return pixels.transpose(2, 0, 1)
    # Pillow may raise any exception over a damaged picture, as in `bench.data.folder`.
    except Exception as error:
        raise DamagedData(f"{path} cannot be read ({type(error).__name__}: {error}); {again}") from error
    expected = f"at most {PIXELS:,}" if size is None else f"{size[0]}x{size[1]}"
    raise DamagedData(f"{path} has {width}x{height} pixels, expected {expected}; {again}")


def fitted(image: npt.NDArray[np.uint8], shape: ImageShape) -> npt.NDArray[np.uint8]:
    """One picture of shape (C, H, W) in another shape: its channels converted, its centre resized (`resized`)."""
    small: npt.NDArray[np.uint8] = resized(to_channels(image[None], shape[0]), *shape[1:])[0].astype(np.uint8)
    return small


def _shape(name: str, image_shape: ImageShape | None) -> ImageShape:
    if image_shape is None:
        raise ValueError(f"data set {name!r} is resized to the shape of an in-distribution set: give it")
    return image_shape


def _is_picture(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def _contents(files: list[Path]) -> Iterator[tuple[Path, bytes]]:
    for path in files:
        try:
            yield path, read_measured(path, FILE_BYTES)
        except DamagedFileError as error:
            raise DamagedData(f"{error}; get it again") from error


def _bounded(file: IO[bytes], path: Path) -> bytes:
    """The content of a file in an archive, of which at most `bench.data.content.FILE_BYTES` + 1 bytes are unpacked."""
    with file:
        content = file.read(FILE_BYTES + 1)
    if len(content) > FILE_BYTES:
        raise DamagedData(f"{path} holds more than {FILE_BYTES:,} bytes, the limit")
    return content
