"""Storage of the rows of large tensors. Each row is stored once, even if several checkpoints hold it several times.

A replay buffer changes in few rows between two checkpoints, and a checkpoint holds it up to three times: the current
one, the one from the beginning of the epoch, and the one of the selected epoch. So a checkpoint names the rows of such
a tensor by digests of their content. Segments hold the rows: files that are written once, never changed, and deleted
when no kept checkpoint needs one of their rows.

The digest, the first 128 bits of SHA-256, serves three purposes with one pass over the tensor. It detects all changed
rows, so that writes need not be reported and nothing must be remembered between processes. It detects equal rows
anywhere. And it verifies a row when it is read. Because rows are found by content and not by place, segments can be
merged without changing a checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.files.atomic import write_atomically
from bench.train.checkpoint_files import Index, segment_name
from bench.train.segment import Bytes, DamagedError, Segment, segment_content

__all__ = ["Rows", "digests", "is_large", "keys", "store_rows"]

LARGE = 16 * 2**20
"""Least number of bytes of a tensor that is stored by rows."""
MANY = 1_024
"""Least number of rows of such a tensor."""
NARROW = 512
"""Least number of bytes of a row of such a tensor; with fewer, digests would take too much space."""
MOST_SEGMENTS = 64
"""Largest number of segments for each width of rows; more are merged."""
GARBAGE = 2.0
"""Segments are merged when they would hold more than this many times the rows in use."""
DIGEST = 16
"""Bytes of a digest. Two of 2^32 different rows have equal digests with a probability of 2^-65."""
AT_ONCE = 16 * 2**20
"""Bytes that are copied, read or hashed at a time."""
THREADS = 8
"""Largest number of hashing threads, if torch may use so many; a worker on a CPU has one."""


def is_large(tensor: Tensor) -> bool:
    """Whether a tensor is stored by rows: it is large, and has many rows of enough bytes."""
    if tensor.dim() == 0 or tensor.layout != torch.strided:
        return False
    return tensor.nbytes >= LARGE and len(tensor) >= MANY and tensor.nbytes >= NARROW * len(tensor)


def digests(tensor: Tensor) -> Bytes:
    """Digests (n, ``DIGEST``) of the rows of a tensor of shape (n, ...) on any device."""
    step = _step(_width(tensor))

    def part(start: int) -> bytes:
        rows = _rows(tensor[start : start + step])
        return b"".join(hashlib.sha256(row).digest()[:DIGEST] for row in rows)

    with ThreadPoolExecutor(min(THREADS, torch.get_num_threads())) as pool:
        content = b"".join(pool.map(part, range(0, len(tensor), step)))
    return np.frombuffer(content, np.uint8).reshape(len(tensor), DIGEST)


def keys(table: Bytes) -> list[bytes]:
    """Digests (n, ``DIGEST``) as n keys of dictionaries."""
    content = table.tobytes()
    return [content[start : start + DIGEST] for start in range(0, len(content), DIGEST)]


class Rows:
    """The rows in the segments of a folder, found by their digest.

    Args:
        folder: Folder of a job.
        index: Index that names the segments; distrusted segments are used only for rows that no other segment has.

    Attributes:
        segments: Readable segments by name.
        unreadable: Names of the other segments, whose rows are not found.
    """

    def __init__(self, folder: Path, index: Index) -> None:
        self.segments: dict[str, Segment] = {}
        self.unreadable: list[str] = []
        self._places: dict[bytes, tuple[Segment, int]] = {}
        self._trusted: set[bytes] = set()
        for name in sorted(index.segments, key=lambda name: name in index.distrusted):
            try:
                segment = Segment(folder / name, DIGEST)
            except DamagedError:
                self.unreadable.append(name)
                continue
            self.segments[name] = segment
            for place, key in enumerate(segment.digests):
                self._places.setdefault(key, (segment, place))
            if name not in index.distrusted:
                self._trusted.update(segment.digests)

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        for segment in self.segments.values():
            segment.close()

    def __contains__(self, key: bytes) -> bool:
        """Whether a trusted segment has the row."""
        return key in self._trusted

    def segment(self, key: bytes) -> Segment | None:
        """The segment with a row, trusted or not, or None."""
        place = self._places.get(key)
        return None if place is None else place[0]

    def read(self, wanted: list[bytes], width: int) -> Bytes:
        """Rows (n, width) by their digests, each verified.

        Raises:
            DamagedError: Rows are missing or damaged; with the names of the segments that hold or should hold them.
        """
        found, good = self._read(wanted, width)
        bad = [key for key, whole in zip(wanted, good, strict=True) if not whole]
        if bad:
            segments = [self.segment(key) for key in bad]
            names = {segment.name for segment in segments if segment is not None}
            raise DamagedError(sorted(names.union(self.unreadable if None in segments else ())))
        return found

    def whole(self, wanted: Sequence[bytes], width: int) -> list[bytes]:
        """The digests in ``wanted`` whose rows exist and are undamaged."""
        step = _step(width)
        parts = [wanted[start : start + step] for start in range(0, len(wanted), step)]
        return [key for part in parts for key, good in zip(part, self._read(part, width)[1], strict=True) if good]

    def _read(self, wanted: Sequence[bytes], width: int) -> tuple[Bytes, list[bool]]:
        found = np.zeros((len(wanted), width), np.uint8)
        there = []
        for row, key in zip(found, wanted, strict=True):
            segment, place = self._places.get(key, (None, 0))
            there.append(segment is not None and segment.read_into(row, place))
        same = (digest == key for digest, key in zip(keys(digests(torch.from_numpy(found))), wanted, strict=True))
        return found, [a and b for a, b in zip(there, same, strict=True)]


def store_rows(
    folder: Path, index: Index, tensors: Mapping[str, Tensor], older: Iterable[bytes]
) -> tuple[dict[str, Bytes], list[str]]:
    """Write the rows of tensors that no segment holds, and merge segments with too many unused rows.

    Args:
        folder: Folder of a job.
        index: The current index. Files that it names are not changed; new segments get its ``number``.
        tensors: Large tensors by name.
        older: Digests of the rows that kept earlier checkpoints need.

    Returns:
        Digests (n, ``DIGEST``) of the rows of each tensor, and the names of the segments that are needed from now on,
        oldest first.

    Raises:
        OSError: Writing failed, for example on a full disk.
    """
    tables = {name: digests(tensor) for name, tensor in tensors.items()}
    earlier = list(dict.fromkeys(older))
    needed: list[str] = []
    with Rows(folder, index) as rows:
        widths = {_width(tensor) for tensor in tensors.values()} | {s.width for s in rows.segments.values()}
        for width in sorted(widths):
            now: dict[bytes, tuple[Tensor, int]] = {}
            for name, tensor in tensors.items():
                if _width(tensor) == width:
                    for row, key in enumerate(keys(tables[name])):
                        now.setdefault(key, (tensor, row))
            needed += _store(folder / segment_name(index.number, width), width, rows, now, earlier)
    return tables, needed


def _store(
    path: Path, width: int, rows: Rows, now: Mapping[bytes, tuple[Tensor, int]], earlier: Sequence[bytes]
) -> list[str]:
    """Store the rows of one width; returns the names of the needed segments."""
    fresh = [key for key in now if key not in rows]
    others = [key for key in earlier if key not in now and (s := rows.segment(key)) is not None and s.width == width]
    places = [rows.segment(key) for key in (*(key for key in now if key in rows), *others)]
    used = {segment.name for segment in places if segment is not None}
    live = [segment for segment in rows.segments.values() if segment.name in used]
    held = sum(len(segment) for segment in live) + len(fresh)
    if held > GARBAGE * (len(now) + len(others)) or len(live) + bool(fresh) > MOST_SEGMENTS:
        # If the disk has no room for a merged segment, it may have room for the new rows.
        with contextlib.suppress(OSError):
            whole = rows.whole(others, width)
            step = _step(width)
            old = (rows.read(whole[start : start + step], width) for start in range(0, len(whole), step))
            write_atomically(path, segment_content([*now, *whole], chain(_parts(list(now.values())), old), width))
            return [path.name]
    names = [segment.name for segment in live]
    if fresh:
        write_atomically(path, segment_content(fresh, _parts([now[key] for key in fresh]), width))
        names.append(path.name)
    return names


def _parts(places: Sequence[tuple[Tensor, int]]) -> Iterator[Bytes]:
    """Rows of tensors as bytes, at most ``AT_ONCE`` bytes at a time."""
    for _, group in groupby(places, key=lambda place: id(place[0])):
        members = list(group)
        tensor = members[0][0]
        step = _step(_width(tensor))
        for start in range(0, len(members), step):
            chosen = torch.tensor([row for _, row in members[start : start + step]], device=tensor.device)
            yield _rows(tensor[chosen])


def _rows(part: Tensor) -> Bytes:
    """The k rows of a tensor as bytes, (k, width)."""
    plain = part.detach().cpu().contiguous()
    return plain.reshape(len(plain), -1).view(torch.uint8).numpy()


def _width(tensor: Tensor) -> int:
    """Bytes of a row."""
    return tensor.nbytes // len(tensor)


def _step(width: int) -> int:
    """Number of rows that are processed at a time."""
    return max(1, AT_ONCE // width)
