"""CIFAR10, CIFAR100, SVHN and CelebA, in the layout of torchvision below the data root.

Nothing is downloaded. Every file with a published checksum is read once and verified, and the verified bytes are
parsed: CIFAR's files are pickles, which may run code. The loaded values equal torchvision's to the bit.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.content import FILE_BYTES
from bench.data.decoded import decoded, marks
from bench.data.pictures import fitted, picture
from bench.data.published import PublishedFiles
from bench.data.spec import DamagedData, ImageShape, Split
from bench.errors import DamagedFileError, first_line
from bench.files.checksums import read_measured

__all__ = ["CELEBA", "CIFAR10", "CIFAR100", "SVHN", "load_celeba", "load_cifar10", "load_cifar100", "load_svhn"]

CIFAR10 = PublishedFiles(
    {
        "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
        "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
        "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
        "cifar-10-batches-py/batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    "unpack cifar-10-python.tar.gz (the Python version) into {root}",
)
"""The digests of all four sets are those that torchvision publishes."""

CIFAR100 = PublishedFiles(
    {
        "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
        "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "cifar-100-python/meta": "7973b15100ade9c7d40fb424638fde48",
    },
    "unpack cifar-100-python.tar.gz (the Python version) into {root}",
)

SVHN = PublishedFiles(
    {
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    },
    "put train_32x32.mat and test_32x32.mat (cropped digits) into {root}",
)

_CELEBA_IMAGES = "celeba/img_align_celeba"
_CELEBA_SIZE = (178, 218)
_CELEBA_SIDE = 32
_CELEBA_AGAIN = "unpack img_align_celeba.zip again: the aligned and cropped images are needed"

CELEBA = PublishedFiles(
    {
        "celeba/list_eval_partition.txt": "d32c9cbf5e040fd4025c592c306e6668",
    },
    "unpack img_align_celeba.zip into {root}/celeba and put list_eval_partition.txt beside it",
    _CELEBA_IMAGES,
)
"""Of CelebA's five lists the one that says which images are the test part; the others are not needed."""


def load_cifar10(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """``train`` (50,000) and ``test`` (10,000; alone if ``like`` is given): uint8, shape (n, 3, 32, 32).

    Raises:
        DamagedData: A file has another MD5 than published.
    """
    del image_shape, seed
    return _cifar(root, CIFAR10, "labels", like)


def load_cifar100(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """The parts of CIFAR100 as `load_cifar10` returns them, with the 100 fine labels.

    Raises:
        DamagedData: A file has another MD5 than published.
    """
    del image_shape, seed
    return _cifar(root, CIFAR100, "fine_labels", like)


def load_svhn(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """``train`` (73,257) and ``test`` (26,032; alone if ``like`` is given): uint8, shape (n, 3, 32, 32).

    The label of a digit is the digit (the files call 0 "10"). The part "extra" is never used, as in GMMC's
    code.

    Raises:
        DamagedData: A file has another MD5 than published.
    """
    del image_shape, seed
    import scipy.io

    splits = {}
    for part in _parts(like):
        name = f"{part}_32x32.mat"
        with _parsing(root / name):
            # Only verified bytes are parsed: SciPy's reader crashes the process over some damaged files.
            found = scipy.io.loadmat(io.BytesIO(SVHN.read(root, name)))
            labels = found["y"].astype(np.int64).reshape(-1)
            splits[part] = Split.numbered(np.ascontiguousarray(found["X"].transpose(3, 2, 0, 1)), labels % 10)
    return splits


def load_celeba(root: Path, *, like: Split | None, image_shape: ImageShape | None, seed: int) -> dict[str, Split]:
    """The official ``test`` part (19,962 aligned faces), unlabelled: uint8, shape (n, 3, 32, 32).

    The centre 178x178 of the 178x218 pixels, then Pillow's antialiased bilinear filter to 32x32. (JEM resizes
    the short side to 32 only, which gives 39x32 pixels; its 8x8 pooling then ignores the lowest features.) The images
    are decoded once (`bench.data.decoded`).

    Raises:
        DamagedData: The list has another MD5 than published, or an image is missing, unreadable or not of
            178x218 pixels. The pixels cannot be verified: no checksums of single images are published.
    """
    del like, image_shape, seed
    partition, folder = "celeba/list_eval_partition.txt", root / _CELEBA_IMAGES
    content = CELEBA.read(root, partition)
    with _parsing(root / partition):
        rows = [line.split() for line in content.decode("ascii").splitlines()]
        files = [folder / name for name, part in rows if int(part) == 2]
    try:
        facts = [*CELEBA.digests.values(), *marks(files)]
    except OSError as error:
        raise DamagedData(f"{error.filename} cannot be read ({error.strerror}); {_CELEBA_AGAIN}") from error
    return {"test": Split.numbered(decoded(f"celeba-3x{_CELEBA_SIDE}x{_CELEBA_SIDE}", facts, lambda: _faces(files)))}


def _faces(files: list[Path]) -> npt.NDArray[np.uint8]:
    """The faces as uint8 of shape (n, 3, 32, 32); the size of each is checked before it is decoded."""
    shape = (3, _CELEBA_SIDE, _CELEBA_SIDE)
    images = np.empty((len(files), *shape), dtype=np.uint8)
    for index, path in enumerate(files):
        try:
            content = read_measured(path, FILE_BYTES)
        except DamagedFileError as error:
            raise DamagedData(f"{path} cannot be read ({error.problem}); {_CELEBA_AGAIN}") from error
        images[index] = fitted(picture(content, path, _CELEBA_AGAIN, _CELEBA_SIZE), shape)
    return images


def _parts(like: Split | None) -> tuple[str, ...]:
    return ("train", "test") if like is None else ("test",)


def _cifar(root: Path, files: PublishedFiles, key: str, like: Split | None) -> dict[str, Split]:
    """Both parts of CIFAR10 or CIFAR100; the batches, sorted by name, have the order of the official split."""
    batches = {"train": [name for name in files.digests if "test" not in name and "meta" not in name]}
    batches["test"] = [name for name in files.digests if name.rpartition("/")[2].startswith("test")]
    splits = {}
    for part in _parts(like):
        rows, labels = [], []
        for name in batches[part]:
            content = files.read(root, name)
            with _parsing(root / name):
                entry = _unpickled(content)
                rows.append(np.asarray(entry["data"], dtype=np.uint8).reshape(-1, 3, 32, 32))
                labels.extend(entry[key])
        splits[part] = Split.numbered(np.concatenate(rows), labels)
    return splits


class _Arrays(pickle.Unpickler):
    """Unpickles arrays of numbers and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        known = {"_reconstruct", "ndarray", "dtype", "scalar"}
        if module.partition(".")[0] == "numpy" and name in known:
            return super().find_class(module, name)
        if (module, name) in (("_codecs", "encode"), ("__builtin__", "bytes"), ("builtins", "bytes")):
            return super().find_class(module, name)  # how other versions of Python write bytes
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _unpickled(content: bytes) -> Any:
    with warnings.catch_warnings():
        # The files were pickled by NumPy 1; NumPy 2.4 and later warn about its dtypes.
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        return _Arrays(io.BytesIO(content), encoding="latin1").load()


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    """Turn errors of a parser into one error that names the file.

    Raises:
        DamagedData: The parser raised anything.
    """
    try:
        yield
    except DamagedData:
        raise
    # pickle and scipy.io may raise any exception over a damaged file.
    except Exception as error:
        raise DamagedData(f"{path} cannot be parsed ({first_line(error)}); get the file again") from error
