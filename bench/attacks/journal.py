"""What an attack has found so far, on disk, so that a killed attack goes on where it stood.

An attack is a fixed sequence of pieces, such as batches: what a piece finds depends on what came before and on
nothing else. So a piece that was kept is read instead of computed, and the attack that goes on ends with the bits
of the one that was never interrupted.
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
    """All arrays of an ``.npz`` file, or None if it is not there or is damaged: nothing in it is trusted."""
    try:
        return load_arrays(path)
    except DamagedFileError:
        return None


class Journal:
    """Pieces of attacks in one folder, each a file that is absent or whole.

    Pieces are written when ``every`` seconds have passed since the last writing: a kill costs so much and one piece.
    A file that cannot be read counts as absent, and a full disk costs the progress, not the attack.

    Args:
        folder: Where; made when first needed.
        every: Seconds between two writings; 0 writes every piece at once.
        clock: Tells seconds.
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
            *identity: Everything that determines what the attack finds: its definition, the images, the seed. An
                attack that differs in any of it finds none of these pieces.
        """
        state = hashlib.sha256()
        for part in identity:
            content = part.encode() if isinstance(part, str) else part
            state.update(len(content).to_bytes(8, "big") + content)
        return Pages(self, state.hexdigest())

    def read(self, name: str) -> Arrays | None:
        """A kept piece, or None."""
        if name in self._waiting:
            return self._waiting[name]
        found = arrays_in(self._file(name))
        # An archive whose directory lost an entry reads like one that never had it.
        names = None if found is None else found.pop(_NAMES, None)
        return None if names is None or found is None or sorted(found) != names.tolist() else found

    def keep(self, name: str, arrays: Arrays) -> None:
        """Keep a piece: at once, or with others a little later."""
        self._waiting[name] = arrays
        if self._clock() - self._written >= self._every:
            self.write()

    def write(self) -> None:
        """Write what waits."""
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
            # Not synced: what a power cut damages fails the checksums of the archive and is computed again.
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
        journal: Where they are kept.
        identity: Of the attack and the part.
    """

    journal: Journal
    identity: str

    def within(self, part: str) -> Pages:
        """The pieces of a part of the attack, whose names do not collide with those of other parts."""
        return self.journal.pages(self.identity, part)

    def remember(self, piece: str, compute: Callable[[], Arrays]) -> Arrays:
        """A piece: as it was kept, else computed and kept.

        Args:
            piece: Its name within the attack.
            compute: Arrays by name; no objects.
        """
        name = self.within(piece).identity[:32]
        found = self.journal.read(name)
        if found is None:
            # A model that draws from global generators draws the same for this piece, whatever was read before it.
            with seeded(int(name[:15], 16)):
                found = compute()
            self.journal.keep(name, found)
        return found
