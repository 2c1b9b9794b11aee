"""Keeps pictures that take long to make on disk, so that thousands of files are decoded, and test items are corrupted,
once and not in every job.

The files lie in the user's cache folder. They may be deleted at any time: the next job makes the pictures again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.errors import DamagedFileError
from bench.files.arrays import load_arrays, save_arrays
from bench.keys import source_digest

__all__ = ["decoded", "decoded_folder", "marks", "user_cache"]

_CODE = ("pictures.py", "resize.py", "torchvision_sets.py")
"""The modules beside this one that make pixels of files; an edit of one decodes again, so nobody can forget it."""


def user_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """The harness's folder in the user's cache folder (``XDG_CACHE_HOME``)."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bench"


def decoded_folder() -> Path:
    """The folder of decoded pictures."""
    return user_cache() / "decoded"


def marks(paths: Iterable[Path]) -> Iterator[str]:
    """For each file a text with its name, size, times and inode, which changes when the file is written or replaced.

    Raises:
        OSError: A file is missing or cannot be reached.
    """
    for path in paths:
        found = path.stat()
        yield f"{path.name} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


def decoded(
    name: str, facts: Iterable[str], make: Callable[[], npt.NDArray[np.uint8]], *, code: Iterable[Path] = ()
) -> npt.NDArray[np.uint8]:
    """Pictures as ``make`` decodes them, from the cache if they were decoded before from the same files.

    A stored array is used only if its SHA-256 is the stored one; a damaged file counts as missing. If several processes
    need the same pictures, one decodes them and the others wait for it. The cache keeps one array per name, the newest.
    A cache that cannot be written costs time and is no error.

    Args:
        name: Name of the data set and the shape of its images, such as ``"celeba-3x32x32"``.
        facts: All that determines the pixels beside the code, such as `marks` of the files and a published checksum.
        make: Decodes or makes the pictures: uint8 of shape (n, C, H, W).
        code: Further modules that make the pixels: an edit of one makes them again.
    """
    from PIL import __version__ as pillow

    key = hashlib.sha256()
    sources = (*(Path(__file__).with_name(module) for module in _CODE), *code)
    for fact in (pillow, *map(source_digest, sources), *facts):
        key.update(fact.encode("utf-8", "backslashreplace") + b"\0")
    path = decoded_folder() / f"{name}-{key.hexdigest()[:32]}.npz"
    found = _stored(path)
    if found is not None:
        return found
    with _lock(path.with_name(f"{name}.lock")):
        found = _stored(path)
        if found is not None:
            return found
        images = make()
        with contextlib.suppress(OSError):
            save_arrays(path, {"images": images, "sha256": _digest(images)})
            # Arrays of former files, and what a kill left of writing.
            for other in (*path.parent.glob(f"{name}-*.npz"), *path.parent.glob(f".{name}-*.tmp")):
                if other != path:
                    other.unlink()
        return images


def _stored(path: Path) -> npt.NDArray[np.uint8] | None:
    """The images of a file of the cache, or None if it is missing or damaged."""
    try:
        arrays = load_arrays(path)
    except DamagedFileError:
        return None
    images, digest = arrays.get("images"), arrays.get("sha256")
    if images is None or digest is None or images.dtype != np.uint8 or images.ndim != 4:
        return None
    return images if np.array_equal(digest, _digest(images)) else None


def _digest(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """SHA-256 of the shape and the pixels, as 32 bytes."""
    digest = hashlib.sha256(str(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    return np.frombuffer(digest.digest(), dtype=np.uint8)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock of the operating system, which ends with the process; nothing if the folder cannot be written."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
