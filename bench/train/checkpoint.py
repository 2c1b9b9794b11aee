"""Checkpoints of a trainer's state, so that a kill loses at most the work since the last one.

A resumed run is equal to an uninterrupted one, to the bit (same machine, threads and versions). The last two
checkpoints are kept with their digests: a damaged checkpoint is detected and the one before it is used. Writing a new
checkpoint never harms an old one: it is a new file that the index names only when it is complete. Checkpoints share
rows of large tensors (``rows``): a damaged row harms exactly the checkpoints that need it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from bench.files.tensors import load_tensors, nested, save_tensors, unnested
from bench.keys import file_digest
from bench.train.checkpoint_files import INDEX, Index, checkpoint_name, read_index, remove_orphans
from bench.train.loop import Trainer
from bench.train.rows import Rows, is_large, keys, store_rows
from bench.train.segment import DamagedError
from bench.train.snapshot import Captured, capture, put_back

__all__ = ["INDEX", "Pace", "remove", "restore", "save"]

KEPT = 2
"""Number of kept checkpoints."""
COST = 40
"""The time between two saves is at least this many times the time of a save."""
_ROWS = "rows"
"""Name of the group of digests in a checkpoint, and of the fact with types and shapes of their tensors."""


class Pace:
    """Decides when a checkpoint is due.

    Args:
        every: Least number of seconds between two checkpoints. It is raised to ``COST`` times the duration of the last
            save, so that saving takes at most a fortieth of the time of training. 0: a checkpoint is always due.
        clock: Returns the time in seconds.
    """

    def __init__(self, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = every, clock
        self._ended, self._cost = clock(), 0.0

    def due(self) -> bool:
        """Whether a checkpoint is due."""
        return not self._every or self._clock() - self._ended > max(self._every, COST * self._cost)

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measure the duration of a save, whether it succeeds or not."""
        began = self._clock()
        try:
            yield
        finally:
            self._ended = self._clock()
            self._cost = self._ended - began


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state of a trainer between two iterations.

    Raises:
        OSError: Writing failed, for example on a full disk; earlier checkpoints are unharmed.
    """
    now = capture(trainer, selected=True, copy=False)
    tensors = nested("now", now.tensors)
    facts: dict[str, Any] = {"now": now.facts}
    if trainer.iteration % trainer.per_epoch and trainer.good is not None:
        # A restart in the middle of an epoch goes back to its beginning; between epochs, this state is the beginning.
        tensors |= nested("good", trainer.good.tensors)
        facts["good"] = trainer.good.facts
    try:
        _write(folder, tensors, facts, trainer.iteration)
    finally:
        # Files that the index does not name are outdated or incomplete, and take up space.
        remove_orphans(folder)


def _write(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any], iteration: int) -> None:
    index = read_index(folder) or Index()
    kept = index.checkpoints[: KEPT - 1]
    large = {name: tensor for name, tensor in tensors.items() if is_large(tensor)}
    older = [key for entry in kept for key in _needed(folder / entry["file"])]
    tables, segments = store_rows(folder, index, large, older)
    inline = {name: tensor for name, tensor in tensors.items() if name not in large}
    if large:
        inline |= nested(_ROWS, {name: torch.from_numpy(table.copy()) for name, table in tables.items()})
        made_of = {n: (str(tensor.dtype).removeprefix("torch."), list(tensor.shape)) for n, tensor in large.items()}
        facts = facts | {_ROWS: made_of}
    name = checkpoint_name(index.number)
    digest = save_tensors(folder / name, inline, {"facts": json.dumps(facts)})
    entry = {"number": index.number, "file": name, "sha256": digest, "iteration": iteration}
    distrusted = [name for name in index.distrusted if name in segments]
    Index([entry, *kept], segments, distrusted, index.number + 1).write(folder)


def restore(trainer: Trainer, folder: Path) -> str | None:
    """Restore the newest undamaged checkpoint into a new trainer.

    Damaged checkpoints are removed from the index and segments with damaged rows are marked in it, so that the next
    checkpoint does not rely on them.

    Returns:
        None if there was nothing to restore; else a sentence on what was restored and which files were damaged. If all
        checkpoints were damaged, the trainer is unchanged, and the sentence says that training starts over.
    """
    index = read_index(folder)
    damaged: list[str] = [] if index else [INDEX]
    index = index or Index()
    blamed: list[str] = []
    for number, entry in enumerate(index.checkpoints):
        try:
            tensors, facts = _read(folder, index, entry)
        except DamagedError as error:
            damaged += [entry["file"], *error.names]
            blamed += error.names
            continue
        put_back(trainer, Captured(unnested("now", tensors), facts["now"]))
        if "good" in facts:
            trainer.good = Captured(unnested("good", tensors), facts["good"])
        if damaged:
            distrusted = [name for name in index.segments if name in {*index.distrusted, *blamed}]
            Index(index.checkpoints[number:], index.segments, distrusted, index.number).write(folder)
        remove_orphans(folder)
        note = f"; damaged and passed over: {_list(damaged)}" if damaged else ""
        return f"continued at iteration {trainer.iteration}{note}"
    remove(folder)
    return f"training starts over; damaged: {_list(damaged)}" if damaged else None


def remove(folder: Path) -> None:
    """Delete all checkpoints, for example when training has ended."""
    (folder / INDEX).unlink(missing_ok=True)
    remove_orphans(folder)


def _read(folder: Path, index: Index, entry: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a checkpoint.

    Raises:
        DamagedError: Its file, or rows that it needs, are missing or damaged; with the names of the segments that hold
            damaged rows.
    """
    path = folder / entry["file"]
    if not path.is_file() or file_digest(path) != entry["sha256"]:
        raise DamagedError([])
    tensors, metadata = load_tensors(path)
    facts = json.loads(metadata["facts"])
    errors = []
    with Rows(folder, index) as rows:
        for name, (dtype, shape) in facts.get(_ROWS, {}).items():
            table = tensors.pop(f"{_ROWS}/{name}").numpy()
            kind = getattr(torch, dtype)
            width = torch.Size(shape[1:]).numel() * kind.itemsize
            try:
                tensors[name] = torch.from_numpy(rows.read(keys(table), width)).view(kind).reshape(shape)
            except DamagedError as error:
                errors.append(error)
    if errors:
        raise DamagedError([name for error in errors for name in error.names])
    return tensors, facts


def _needed(path: Path) -> list[bytes]:
    """Digests of the rows that a checkpoint needs; empty if it is missing or damaged and so cannot be used."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            names = [name for name in file.keys() if name.startswith(f"{_ROWS}/")]  # noqa: SIM118 - not a mapping
            return [key for name in names for key in keys(file.get_tensor(name))]
    except (FileNotFoundError, safetensors.SafetensorError):
        return []


def _list(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names))
