"""The files of named data sets: which are missing, and their verified bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.data.spec import DamagedData
from bench.errors import DamagedFileError
from bench.files.checksums import Checksum

__all__ = ["PublishedFiles", "exists", "read_verified"]


@dataclass(frozen=True)
class PublishedFiles:
    """The files of a data set below the data root.

    Attributes:
        digests: Published MD5 digests by the names of the files below the root.
        advice: What to do if files are missing; ``{root}`` stands for the data root.
        folder: Name of a folder without published digests that is needed, too; empty if there is none.
    """

    digests: Mapping[str, str]
    advice: str
    folder: str = ""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of a data set that consists of these files."""
        return f"md5:{'+'.join(self.digests.values())}"

    def find(self, root: Path) -> str | None:
        """None if all files are there, else a sentence that says which are missing and what to put where."""
        advice = self.advice.format(root=root)
        names = [name for name in self.digests if not exists(root / name)]
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            return f"{names[0]}{more} not found below {root}; {advice}"
        if self.folder and not (root / self.folder).is_dir():
            return f"{root / self.folder} is not there; {advice}"
        return None

    def checksums(self, root: Path) -> tuple[Checksum, ...]:
        """The files with their published checksums."""
        return tuple(Checksum(root / name, digest, "md5") for name, digest in self.digests.items())

    def read(self, root: Path, name: str) -> bytes:
        """The verified bytes of a file.

        Raises:
            DamagedData: The file is missing, unreadable, too large, or has another digest.
        """
        return read_verified(Checksum(root / name, self.digests[name], "md5"))


def exists(path: Path) -> bool:
    """Whether the path exists and is not a folder; False if its own folder may not be read."""
    try:
        return path.exists() and not path.is_dir()
    except OSError:
        return False


def read_verified(file: Checksum) -> bytes:
    """The bytes of a file, verified against its published digest.

    Raises:
        DamagedData: The file is missing, unreadable, too large, or has another digest.
    """
    try:
        return file.read()
    except DamagedFileError as error:
        raise DamagedData(f"{error}; get the file again") from error
