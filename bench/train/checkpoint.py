"""A trainer's state in files, so that a kill at any instant loses at most what came after the last one.

The run that goes on is the run that would have been, to the bit (same machine, threads and versions). The last two
checkpoints are kept with their digests: a damaged one is detected and the one before it is used. A new one never
harms an old: it is written beside it and named only when whole.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from bench.keys import file_digest
from bench.store import write_json
from bench.tensors import load_tensors, nested, save_tensors, unnested
from bench.train.loop import Trainer
from bench.train.snapshot import Captured, capture, put_back

__all__ = ["INDEX", "remove", "restore", "save"]

INDEX = "checkpoint.json"


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state of a trainer that stands between two iterations.

    Raises:
        OSError: The disk is full, say; earlier checkpoints are unharmed.
    """
    now = capture(trainer, selected=True)
    tensors = nested("now", now.tensors)
    facts: dict[str, Any] = {"now": now.facts}
    if trainer.iteration % trainer.per_epoch and trainer.good is not None:
        # In the middle of an epoch a restart goes back to its beginning; between epochs that is this state itself.
        tensors |= nested("good", trainer.good.tensors)
        facts["good"] = trainer.good.facts
    entries = _entries(folder)
    number = entries[0]["number"] + 1 if entries else 0
    name = f"checkpoint-{number}.safetensors"
    digest = save_tensors(folder / name, tensors, {"facts": json.dumps(facts)})
    kept = [{"number": number, "file": name, "sha256": digest, "iteration": trainer.iteration}, *entries[:1]]
    write_json(folder / INDEX, {"checkpoints": kept})
    for entry in entries[1:]:
        (folder / entry["file"]).unlink(missing_ok=True)


def restore(trainer: Trainer, folder: Path) -> str | None:
    """Put the newest whole checkpoint back into a freshly made trainer.

    Returns:
        None if there was nothing to restore; else a sentence that says what was, and what was found damaged.
    """
    damaged = []
    for entry in _entries(folder):
        path = folder / entry["file"]
        if not path.is_file() or file_digest(path) != entry["sha256"]:
            damaged.append(entry["file"])
            continue
        tensors, metadata = load_tensors(path)
        facts = json.loads(metadata["facts"])
        put_back(trainer, Captured(unnested("now", tensors), facts["now"]))
        if "good" in facts:
            trainer.good = Captured(unnested("good", tensors), facts["good"])
        note = f"; damaged and passed over: {', '.join(damaged)}" if damaged else ""
        return f"continued at iteration {trainer.iteration}{note}"
    return None


def remove(folder: Path) -> None:
    """Delete all checkpoints: training has ended."""
    (folder / INDEX).unlink(missing_ok=True)
    for path in folder.glob("checkpoint-*.safetensors"):
        path.unlink(missing_ok=True)


def _entries(folder: Path) -> list[dict[str, Any]]:
    """The checkpoints that the index names, newest first."""
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        return list(json.loads((folder / INDEX).read_text(encoding="utf-8"))["checkpoints"])
    return []
