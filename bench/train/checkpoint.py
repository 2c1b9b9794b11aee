"""A trainer's state in files, so that a kill at any instant loses at most what came after the last one.

The run that goes on is the run that would have been, to the bit (same machine, threads and versions). The last two
checkpoints are kept with their digests: a damaged one is detected and the one before it is used. A new one never
harms an old: it is written beside it and named only when whole. Rows of large tensors are shared (``rows``): a
damaged one harms every checkpoint that needs it, and no other.
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
from bench.train.files import INDEX, Index, checkpoint_name, read_index, remove_orphans
from bench.train.loop import Trainer
from bench.train.rows import Rows, is_large, keys, store_rows
from bench.train.segment import DamagedError
from bench.train.snapshot import Captured, capture, put_back

__all__ = ["INDEX", "Pace", "remove", "restore", "save"]

KEPT = 2
"""Checkpoints."""
COST = 40
"""Times the seconds of a save that pass at least before the next."""
_ROWS = "rows"
"""The group of the digests in a checkpoint, and the fact that says what they make up."""


class Pace:
    """When a checkpoint is due.

    Args:
        every: Seconds that pass at least between two, and never less than ``COST`` times what the last one took, so
            that saving costs a fortieth of training. 0: one is always due, whatever it costs.
        clock: Seconds.
    """

    def __init__(self, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = every, clock
        self._ended, self._cost = clock(), 0.0

    def due(self) -> bool:
        """Whether it is time."""
        return not self._every or self._clock() - self._ended > max(self._every, COST * self._cost)

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measure a save, whether it succeeds or not."""
        began = self._clock()
        try:
            yield
        finally:
            self._ended = self._clock()
            self._cost = self._ended - began


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state of a trainer that stands between two iterations.

    Raises:
        OSError: The disk is full, say; earlier checkpoints are unharmed.
    """
    now = capture(trainer, selected=True, copy=False)
    tensors = nested("now", now.tensors)
    facts: dict[str, Any] = {"now": now.facts}
    if trainer.iteration % trainer.per_epoch and trainer.good is not None:
        # In the middle of an epoch a restart goes back to its beginning; between epochs that is this state itself.
        tensors |= nested("good", trainer.good.tensors)
        facts["good"] = trainer.good.facts
    try:
        _write(folder, tensors, facts, trainer.iteration)
    finally:
        # What the index does not name: what it no longer does, or what was not to be finished and takes up space.
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
    """Put the newest whole checkpoint back into a freshly made trainer.

    What was found damaged is no longer named afterwards, so that what is saved next does not rely on it.

    Returns:
        None if there was nothing to restore; else a sentence that says what was, and what was found damaged. If all
        was, the trainer is as it was, and the sentence says that training starts over.
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
    """Delete all checkpoints: training has ended."""
    (folder / INDEX).unlink(missing_ok=True)
    remove_orphans(folder)


def _read(folder: Path, index: Index, entry: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a checkpoint.

    Raises:
        DamagedError: Its file, or rows that it needs, are missing or not what was written; with the names of the
            segments to blame.
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
    """Digests of the rows that a checkpoint needs; none if it is damaged, then it is of no use."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            names = [name for name in file.keys() if name.startswith(f"{_ROWS}/")]  # noqa: SIM118 - not a mapping
            return [key for name in names for key in keys(file.get_tensor(name))]
    except (FileNotFoundError, safetensors.SafetensorError):
        return []


def _list(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names))
