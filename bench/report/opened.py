"""Arrays over items that jobs stored, kept in memory while a report is made."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from bench.errors import DamagedFileError
from bench.store import Store

__all__ = ["OpenedArrays"]

MOST_BYTES = 2**28
"""Bytes of arrays that a report keeps in memory; an array of 10,000 items has 80 kB at most."""


@dataclass
class OpenedArrays:
    """The arrays over items that evaluate jobs stored. Cells, figures, tests and checks of a column read the same ones.

    Attributes:
        store: The results.
        most: Bytes that are kept; beyond them the arrays that nobody has asked for longest are read again.
    """

    store: Store
    most: int = MOST_BYTES
    _kept: OrderedDict[tuple[str, str], NDArray[Any] | None] = field(default_factory=OrderedDict, repr=False)
    _bytes: int = 0

    def get(self, key: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Those of the named arrays that a job stored; none of them if its file of arrays is damaged."""
        absent = [name for name in names if (key, name) not in self._kept]
        if absent:
            loaded = self._load(key, absent)
            for name in absent:
                self._kept[key, name] = loaded.get(name)
            self._bytes += sum(array.nbytes for array in loaded.values())
        found = {}
        for name in names:
            self._kept.move_to_end((key, name))
            array = self._kept[key, name]
            if array is not None:
                found[name] = array
        while self._bytes > self.most and len(self._kept) > len(names):
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= 0 if oldest is None else oldest.nbytes
        return found

    def _load(self, key: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        folder = self.store.folder(key)
        record = folder.record()
        if record is None or not record.measured.items:
            return {}
        file = record.measured.items
        try:
            return folder.arrays(file, sha256=record.artefacts.get(file), names=names)
        except DamagedFileError:
            folder.distrust()  # size and times do not show the damage: the next check hashes the content
            return {}
