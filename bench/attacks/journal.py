"""Partial results of an attack on disk, so that a killed attack can resume.

An attack is a fixed sequence of pieces, such as batches. The result of a piece depends only on the pieces before it.
So a stored piece is read instead of computed, and a resumed attack ends with the same bits as an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DamagedFileError
from bench.files.arrays import load_arrays
from bench.rng import seeded

Arrays = Mapping[str, NDArray[np.generic]]

_NAMES = "names of all arrays"


def arrays_in(path: Path) -> dict[str, NDArray[Any]] | None:
    """All arrays of an ``.npz`` file, or None if it is absent or damaged."""
    try:
        return load_arrays(path)
    except DamagedFileError:
        return None


class Journal:
    """Pieces of attacks in one folder, each in a file that is either absent or complete.

    Pieces are written when ``every`` seconds have passed since the last write, so a kill loses at most this time and
    one piece. An unreadable file counts as absent. With a full disk the attack goes on, but its pieces are not kept.

    Args:
        folder: Folder of the files; created at the first write.
        every: Seconds between two writes; 0 writes every piece at once.
        clock: Returns the time in seconds.
    """

    def __init__(self, folder: Path, *, every: float = 15.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self._every = every
        self._clock = clock
        self._written = clock()
        self._waiting: dict[str, Arrays] = {}

    def pages(self, *identity: bytes | str) -> Pages:
        """The part of the journal that belongs to one attack.

        Args:
            *identity: Everything that determines the result of the attack: its definition, the images, the seed. An
                attack that differs in any of these has other pieces.
        """
        state = hashlib.sha256()
        for part in identity:
            content = part.encode() if isinstance(part, str) else part
            state.update(len(content).to_bytes(8, "big") + content)
        return Pages(self, state.hexdigest())

    def read(self, name: str) -> Arrays | None:
        """A stored piece, or None if it is absent or damaged."""
        if name in self._waiting:
            return self._waiting[name]
        found = arrays_in(self._file(name))
        # An archive whose directory lost an entry is readable, so the names are checked too.
        names = None if found is None else found.pop(_NAMES, None)
        return None if names is None or found is None or sorted(found) != names.tolist() else found

    def keep(self, name: str, arrays: Arrays) -> None:
        """Keep a piece in memory, and write all waiting pieces if the last write is ``every`` seconds ago."""
        self._waiting[name] = arrays
        if self._clock() - self._written >= self._every:
            self.write()

    def write(self) -> None:
        """Write all waiting pieces; pieces that cannot be written are dropped."""
        for name, arrays in self._waiting.items():
            with contextlib.suppress(OSError):
                self._put(name, arrays)
        self._waiting.clear()
        self._written = self._clock()

    def _put(self, name: str, arrays: Arrays) -> None:
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **dict(arrays), **{_NAMES: np.array(sorted(arrays), dtype=np.str_)})
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{name}.{os.getpid()}"
        try:
            # Not synced: a file damaged by a power cut fails the checksums of the archive and is computed again.
            temporary.write_bytes(content.getbuffer())
            temporary.replace(self._file(name))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


@dataclass(frozen=True)
class Pages:
    """Pieces of one attack, or of one of its parts.

    Attributes:
        journal: The journal that keeps them.
        identity: Digest that identifies the attack and the part.
    """

    journal: Journal
    identity: str

    def within(self, part: str) -> Pages:
        """The pieces of a part of the attack, whose names do not collide with those of other parts."""
        return self.journal.pages(self.identity, part)

    def remember(self, piece: str, compute: Callable[[], Arrays]) -> Arrays:
        """The stored piece; if there is none, it is computed and stored.

        Args:
            piece: Name of the piece within the attack.
            compute: Returns arrays by name, none of dtype object.
        """
        name = self.within(piece).identity[:32]
        found = self.journal.read(name)
        if found is None:
            # A model that draws from global generators gets the same numbers for this piece, no matter which pieces
            # were read before.
            with seeded(int(name[:15], 16)):
                found = compute()
            self.journal.keep(name, found)
        return found
