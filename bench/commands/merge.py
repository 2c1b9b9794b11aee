"""Brings results of another store into this one, each verified: what two machines have computed becomes one store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.errors import NothingSelectedError, RequestError
from bench.files.atomic import write_atomically
from bench.store import LOG, JobFolder, Record, Store
from bench.store.folder import JOB, RECORD

__all__ = ["Merged", "merge", "other_store"]

Outcome = Literal["taken", "same", "kept", "outdated", "damaged", "busy"]


@dataclass(frozen=True)
class Merged:
    """What became of a result of the other store.

    Attributes:
        job: Id of the job.
        key: Its key.
        outcome: ``taken``: it is in this store now. ``same``: this store had an equal one. ``kept``: this store has
            another one, which stays. ``outdated``: it was made with other weights than this store holds.
            ``damaged``: its files are not as they were recorded. ``busy``: a process is at work on the job here.
        why: More about the outcome; may be empty.
    """

    job: str
    key: str
    outcome: Outcome
    why: str = ""


def other_store(folder: Path) -> Store:
    """The store of a results folder, or the folder itself if it is a store.

    Raises:
        RequestError: It is neither.
    """
    for root in (folder / "store", folder):
        if root.is_dir() and any(path.is_dir() for path in root.glob("??/??*")):
            return Store(root)
    raise RequestError(f"{folder} holds no results: expected a results folder, with store/ in it")


def merge(store: Store, other: Store, *, dry: bool = False) -> Iterator[Merged]:
    """Copy the results that a store lacks from another one, and tell of each result of the other what became of it.

    Every file is hashed before it is copied and again after it. Unfinished jobs and failures stay behind. Training
    comes first, so that results with other weights than this store holds are recognised: a model that both machines
    trained may differ in its last bits, and what was measured with one says nothing of the other.

    Args:
        store: The store that receives.
        other: The store that is read.
        dry: Copy nothing.

    Raises:
        RequestError: Both are the same store.
        NothingSelectedError: The other store has no result.
    """
    if store.root.exists() and store.root.samefile(other.root):
        raise RequestError(f"{other.root} is this store itself")
    found = [(folder, record) for folder in other.folders() if (record := folder.record()) is not None]
    if not found:
        raise NothingSelectedError(f"{other.root} has no finished result")
    weights: dict[str, str] = {}
    for folder, record in sorted(found, key=lambda one: one[1].kind != "train"):
        outcome, why = _merged(store, folder, record, weights, dry)
        if outcome == "taken" and record.kind == "train" and record.weights:
            weights[folder.key] = record.weights
        yield Merged(record.job, folder.key, outcome, why)


def _merged(store: Store, folder: JobFolder, record: Record, taken: dict[str, str], dry: bool) -> tuple[Outcome, str]:
    damage = folder.damage(thorough=True)
    if damage is not None:
        return "damaged", damage
    mine = store.folder(folder.key)
    have = mine.record()
    if have is not None and mine.damage() is None:
        return ("same", "") if _equal(have, record) else ("kept", "this store has another result of the job")
    for key, made_with in _read(folder, record).items():
        trained = store.folder(key).record()
        now = trained.weights if trained is not None else taken.get(key)
        if now is not None and now != made_with:
            return "outdated", f"made with weights {made_with[:12]}; this store has {now[:12]}"
    if dry:
        return "taken", ""
    with mine.lock(wait=False) as own:
        if not own:
            return "busy", f"{mine.holder()} is at work on it"
        mine.forget()
        _copy(folder, mine)
        damage = mine.damage(thorough=True)
        if damage is not None or mine.record() is None:
            mine.forget()
            return "damaged", damage or f"{folder.path / RECORD} changed while it was copied"
    return "taken", ""


def _equal(mine: Record, other: Record) -> bool:
    return (
        mine.status == other.status
        and mine.weights == other.weights
        and mine.measured.numbers == other.measured.numbers
        and dict(mine.artefacts) == dict(other.artefacts)
    )


def _read(folder: JobFolder, record: Record) -> dict[str, str]:
    """By key of the training, the weights that a prediction or an evaluation read."""
    if record.kind == "train":
        return {}
    planned = folder.job()
    own = {planned.train: record.weights} if planned is not None and planned.train and record.weights else {}
    return {**record.measured.read, **own}


def _copy(folder: JobFolder, mine: JobFolder) -> None:
    """Copy the files of a result; the record comes last, so that a kill leaves no result."""
    for name in (*folder.artefacts(), JOB, LOG):
        source, target = folder.file(name), mine.file(f".{name}.tmp")
        if source.is_file():
            shutil.copyfile(source, target)
            target.replace(mine.file(name))
    write_atomically(mine.file(RECORD), folder.file(RECORD).read_bytes())
