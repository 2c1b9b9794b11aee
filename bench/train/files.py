"""Which files a job's checkpoints consist of. Knows no torch: commands that look after the store ask here.

An index names the checkpoints, newest first, and the segments that hold the rows of their large tensors. It is
replaced in one step, so what it names is whole; whatever else bears such a name was left by a kill.
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
    """What may be restored.

    Attributes:
        checkpoints: Newest first: ``number``, ``file``, ``sha256`` of the file, ``iteration``.
        segments: Names of the files of rows, oldest first.
        distrusted: Those of them in which a damaged row was found. Earlier checkpoints may need their other rows;
            later ones do not rely on them.
        number: Of the next checkpoint. No number is used twice, so no file that is named is ever written over.
    """

    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)
    distrusted: list[str] = field(default_factory=list)
    number: int = 0

    def write(self, folder: Path) -> None:
        """Make this what counts, in one step.

        Raises:
            OSError: The disk is full, say; the former index still counts.
        """
        write_json(folder / INDEX, asdict(self))


def read_index(folder: Path) -> Index | None:
    """The index of a job's folder: empty if there is none, None if it cannot be understood."""
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
        # Before there were segments every checkpoint held all of its rows, and the index had the first entry alone.
        segments = [str(name) for name in value.get("segments", [])]
        distrusted = [str(name) for name in value.get("distrusted", [])]
        number = int(value["number"] if "number" in value else value["checkpoints"][0]["number"] + 1)
    except FileNotFoundError:
        return Index()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    return Index(checkpoints, segments, distrusted, number)


def checkpoint_name(number: int) -> str:
    """File of a checkpoint."""
    return f"checkpoint-{number}.safetensors"


def segment_name(number: int, width: int) -> str:
    """File of the rows of ``width`` bytes that were new in a checkpoint."""
    return f"rows-{number}-{width}.safetensors"


@dataclass(frozen=True)
class Files:
    """The files of a job's folder that have to do with checkpoints, the index aside.

    Attributes:
        checkpoints: Named by the index.
        segments: Named by the index.
        orphans: Named by nothing: a kill came between two files, or into the middle of one.
    """

    checkpoints: list[Path]
    segments: list[Path]
    orphans: list[Path]


def files_of(folder: Path) -> Files:
    """What is there. Orphans of a job at work may be files that it is about to name."""
    index = read_index(folder) or Index()
    named = {entry["file"] for entry in index.checkpoints}
    found = sorted(path for pattern in _OURS for path in folder.glob(pattern))
    return Files(
        [path for path in found if path.name in named],
        [path for path in found if path.name in index.segments],
        [path for path in found if path.name not in named and path.name not in index.segments],
    )


def remove_orphans(folder: Path) -> list[Path]:
    """Delete what the index does not name; returns what went. Only for who holds the job's lock."""
    gone = []
    for path in files_of(folder).orphans:
        with contextlib.suppress(OSError):
            path.unlink()
            gone.append(path)
    return gone
