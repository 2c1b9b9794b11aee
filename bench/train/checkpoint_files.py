"""The files of a job's checkpoints. This module does not import torch, because commands on the store use it.

An index names the checkpoints, newest first, and the segments that hold the rows of their large tensors. It is
replaced atomically, so the files that it names are complete; other files with such names were left by a kill.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.files.atomic import write_json

__all__ = ["INDEX", "Files", "Index", "checkpoint_name", "files_of", "read_index", "remove_orphans", "segment_name"]

INDEX = "checkpoint.json"
_OURS = ("checkpoint-*.safetensors", "rows-*.safetensors", ".checkpoint*.tmp", ".rows-*.tmp")


@dataclass(frozen=True)
class Index:
    """The checkpoints that can be restored.

    Attributes:
        checkpoints: Newest first, with ``number``, ``file``, ``sha256`` of the file, and ``iteration``.
        segments: Names of the files of rows, oldest first.
        distrusted: Segments in which a damaged row was found. Earlier checkpoints may need their other rows; later ones
            do not rely on them.
        number: Number of the next checkpoint. No number is used twice, so a named file is never overwritten.
    """

    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)
    distrusted: list[str] = field(default_factory=list)
    number: int = 0

    def write(self, folder: Path) -> None:
        """Replace the index in the folder atomically.

        Raises:
            OSError: Writing failed, for example on a full disk; the former index stays valid.
        """
        write_json(folder / INDEX, asdict(self))


def read_index(folder: Path) -> Index | None:
    """The index of a job's folder: empty if there is none, None if it is invalid."""
    try:
        value = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        checkpoints = [
            {
                "number": int(entry["number"]),
                "file": str(entry["file"]),
                "sha256": str(entry["sha256"]),
                "iteration": int(entry["iteration"]),
            }
            for entry in value["checkpoints"]
        ]
        # In the format before segments, a checkpoint held all of its rows, and the index had "checkpoints" only.
        segments = [str(name) for name in value.get("segments", [])]
        distrusted = [str(name) for name in value.get("distrusted", [])]
        number = int(value["number"] if "number" in value else value["checkpoints"][0]["number"] + 1)
    except FileNotFoundError:
        return Index()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    return Index(checkpoints, segments, distrusted, number)


def checkpoint_name(number: int) -> str:
    """File name of a checkpoint."""
    return f"checkpoint-{number}.safetensors"


def segment_name(number: int, width: int) -> str:
    """File name of the rows of ``width`` bytes that were new in a checkpoint."""
    return f"rows-{number}-{width}.safetensors"


@dataclass(frozen=True)
class Files:
    """The files of checkpoints in a job's folder, without the index.

    Attributes:
        checkpoints: Checkpoints that the index names.
        segments: Segments that the index names.
        orphans: Files that the index does not name, left by a kill between two files or during a write.
    """

    checkpoints: list[Path]
    segments: list[Path]
    orphans: list[Path]


def files_of(folder: Path) -> Files:
    """The files in a folder. Orphans of a running job may be files that its next index names."""
    index = read_index(folder) or Index()
    named = {entry["file"] for entry in index.checkpoints}
    found = sorted(path for pattern in _OURS for path in folder.glob(pattern))
    return Files(
        [path for path in found if path.name in named],
        [path for path in found if path.name in index.segments],
        [path for path in found if path.name not in named and path.name not in index.segments],
    )


def remove_orphans(folder: Path) -> list[Path]:
    """Delete files that the index does not name, and return them. The caller must hold the job's lock."""
    gone = []
    for path in files_of(folder).orphans:
        with contextlib.suppress(OSError):
            path.unlink()
            gone.append(path)
    return gone
