"""Reads foreign torch files without executing anything in them or allocating more than their size.

``torch.save`` writes a zip archive (torch >= 1.6), or several pickles followed by the tensors' bytes (before 1.6). Both
are read here without ``torch.load``, which allocates the sizes that a file claims. Here sizes of storages, shapes and
strides are checked against the bytes in the file before a tensor is created.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from bench.errors import DamagedFileError, RequestError, first_line
from bench.weights import unpickle as pickles
from bench.weights.unpickle import MOST_STUBS, Global, Stub, shown, unpickle

__all__ = ["SPARE", "Stub", "read_inert"]

SPARE = 2**26
"""Bytes by which a tensor may exceed its storage when strides repeat elements (``expand``)."""
_CHUNK = 2**24
_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


@dataclass(frozen=True)
class _Storage:
    """The bytes of a storage, as uint8, and the type of its elements."""

    raw: Tensor
    dtype: torch.dtype


def read_inert(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The content of a torch file, read without executing anything in it.

    Tensors are on the CPU. Parameters become tensors, sets lists, and ordered dictionaries dictionaries. Every object
    of another class becomes an inert ``Stub``, so that a pickled module yields its tensors and a call
    to ``os.system`` yields nothing. Memory is bounded by the file's size: compressed archives, storages larger than
    the file and tensors outside of their storage are refused.

    Returns:
        The content, and the names of the globals that were stubbed.

    Raises:
        RequestError: The file is missing, is not a torch file, or exceeds a limit.
        DamagedFileError: The file cannot be opened or read.
    """
    try:
        if not path.is_file():
            raise RequestError(f"{shown(path)}: {'is not a file' if path.exists() else 'no such file'}")
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {error.strerror or error}") from error
    except RequestError:
        raise
    # zipfile, struct, pickletools and torch may raise any exception over a damaged file.
    except Exception as error:
        raise RequestError(f"{shown(path)} is not a torch file: {shown(first_line(error, 300))}") from error


def _read(file: IO[bytes], size: int) -> tuple[Any, tuple[str, ...]]:
    start = file.read(4)
    file.seek(0)
    return _read_zip(file, size) if start == b"PK\x03\x04" else _read_legacy(file, size)


class _Storages:
    """The storages of a file by key. Together they are never larger than the file.

    Args:
        size: Bytes of the file.
        fill: Checks the number of bytes of a key in the file and, if they can already be read, reads them.
    """

    def __init__(self, size: int, fill: Callable[[str, Tensor], None]) -> None:
        self.left = self.size = size
        self.fill = fill
        self.found: dict[str, _Storage] = {}

    def persistent(self, given: Any) -> Any:
        """The storage for ("storage", type, key, place, elements, …), or the class for ("module", class, …)."""
        match given:
            case ("module", Global() as kind, *_):
                return kind
            case ("storage", Global(name), str(key) | int(key), _, int(count)) | (
                "storage",
                Global(name),
                str(key) | int(key),
                _,
                int(count),
                None,
            ):
                dtype = _TYPES.get(name.rpartition(".")[2]) if name.startswith("torch.") else None
                if dtype is None or isinstance(count, bool) or count < 0:
                    raise ValueError(f"a storage of {count} elements of type {name} is not understood")
                return self._storage(str(key), dtype, count)
        raise ValueError("a reference to data outside of its pickle is not understood")

    def _storage(self, key: str, dtype: torch.dtype, count: int) -> _Storage:
        bytes_ = count * dtype.itemsize
        known = self.found.get(key)
        if known is not None:
            if known.dtype != dtype or known.raw.numel() != bytes_:
                raise ValueError(f"storage {shown(key)} is described in two ways")
            return known
        if bytes_ > self.left:
            raise ValueError(f"storage {shown(key)} asks for {bytes_:,} bytes, the file has {self.size:,} in all")
        self.left -= bytes_
        storage = self.found[key] = _Storage(torch.empty(bytes_, dtype=torch.uint8), dtype)
        self.fill(key, storage.raw)
        return storage


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    """A view of a storage as of ``torch._utils._rebuild_tensor``; offset and strides are in elements."""
    if not isinstance(storage, _Storage):
        return Stub("torch tensor of an unknown kind")
    for numbers in (size, stride, (offset,)):
        if not isinstance(numbers, tuple) or not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
            raise ValueError("a tensor has sizes or strides that are no numbers, negative or too large")
    if len(size) != len(stride) or len(size) > 64:
        raise ValueError(f"a tensor has {len(size)} sizes and {len(stride)} strides")
    width, there = storage.dtype.itemsize, storage.raw.numel()
    count = 1
    for n in size:
        count *= n
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if count else offset
    if last * width > there:
        raise ValueError(f"a tensor of shape {shown(size)} does not lie in its storage of {there:,} bytes")
    if count * width > there + SPARE:
        raise ValueError(
            f"a tensor of shape {shown(size)} asks for {count * width:,} bytes and its storage has {there:,}; the "
            f"limit is {SPARE:,} more than that"
        )
    return storage.raw.view(storage.dtype).as_strided(size, stride, offset)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _shape(*arguments: Any) -> tuple[Any, ...]:
    return tuple(arguments[0]) if arguments and isinstance(arguments[0], list | tuple) else ()


_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _shape,
    # ``persistent`` only reads the types of storages; calling one allocates nothing.
    **{f"torch.{name}": lambda *_: Stub("torch storage") for name in _TYPES},
    **{f"torch.cuda.{name}": lambda *_: Stub("torch storage") for name in _TYPES},
}


def _read_zip(file: IO[bytes], size: int) -> tuple[Any, tuple[str, ...]]:
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise ValueError("its archive has two members of one name")
        roots = [name.removesuffix("data.pkl") for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("its archive has no data.pkl" if not roots else "its archive has several data.pkl")
        (root,) = roots
        if f"{root}constants.pkl" in members:
            raise ValueError("it is a TorchScript archive; save the state dict of the module: torch.save")

        def member(name: str, limit: int) -> zipfile.ZipInfo:
            found = members.get(root + name)
            if found is None:
                raise ValueError(f"its archive has no {shown(name)}")
            if found.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{shown(name)} in its archive is compressed, which torch never does")
            if found.file_size > min(limit, size):
                raise ValueError(f"{shown(name)} asks for {found.file_size:,} bytes; the limit is {min(limit, size):,}")
            return found

        def fill(key: str, raw: Tensor) -> None:
            info = member(f"data/{key}", size)
            if info.file_size != raw.numel():
                raise ValueError(f"storage {shown(key)} has {info.file_size:,} bytes, its tensors say {raw.numel():,}")
            with archive.open(info) as source:
                _fill(source, raw)

        if f"{root}byteorder" in members and archive.read(member("byteorder", 16)) != b"little":
            raise ValueError("it was written on a machine with another order of bytes")
        storages = _Storages(size, fill)
        pickled = archive.read(member("data.pkl", pickles.MOST_BYTES))
        read = unpickle(pickled, persistent=storages.persistent, calls=_CALLS, most_stubs=MOST_STUBS)
    _normalise(storages)
    return read.value, read.stubbed


def _read_legacy(file: IO[bytes], size: int) -> tuple[Any, tuple[str, ...]]:
    """Read a file of torch < 1.6: pickles of a magic number, a version, facts of the machine, the object and the keys
    of its storages; then each storage as its number of elements (int64) and its bytes.
    """
    head = file.read(pickles.MOST_BYTES)
    place = 0
    facts = []
    for _ in range(3):
        part = unpickle(head, place)
        facts.append(part.value)
        place = part.end
    if facts[:2] != [_MAGIC, _LEGACY_PROTOCOL]:
        raise ValueError("it has not the head of one")
    if not isinstance(facts[2], dict) or facts[2].get("little_endian") is not True:
        raise ValueError("it was written on a machine with another order of bytes")
    storages = _Storages(size, lambda _key, _raw: None)
    read = unpickle(head, place, persistent=storages.persistent, calls=_CALLS, most_stubs=MOST_STUBS)
    keys = unpickle(head, read.end)
    if not isinstance(keys.value, list) or sorted(map(str, keys.value)) != sorted(storages.found):
        raise ValueError("its list of storages is not that of its tensors")
    file.seek(keys.end)
    for key in keys.value:
        storage = storages.found[str(key)]
        count = file.read(8)
        if len(count) < 8 or struct.unpack("<q", count)[0] * storage.dtype.itemsize != storage.raw.numel():
            raise ValueError(f"storage {shown(key)} has another number of elements than its tensors say")
        _fill(file, storage.raw)
    _normalise(storages)
    return read.value, read.stubbed


def _fill(source: IO[bytes], raw: Tensor) -> None:
    """Fill ``raw`` with bytes of ``source``, in chunks; reading a member to its end checks its CRC."""
    target: memoryview = raw.numpy().data
    place = 0
    while place < len(target):
        piece = source.read(min(_CHUNK, len(target) - place))
        if not piece:
            raise ValueError(f"it ends {len(target) - place:,} bytes too early")
        target[place : place + len(piece)] = piece
        place += len(piece)


def _normalise(storages: _Storages) -> None:
    """Set boolean bytes other than 0 to 1 (true), since torch's operations disagree about other values."""
    for storage in storages.found.values():
        if storage.dtype == torch.bool:
            storage.raw.ne_(0)
