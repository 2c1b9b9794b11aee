"""What planning knows of a model: its blueprint, and imported weights with the facts recorded about them. Light."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.errors import DamagedFileError, did_you_mean
from bench.files.tensors import load_shapes
from bench.keys import file_digest

__all__ = ["MODEL", "STATE", "WEIGHTS", "Blueprint", "Found", "find_weights"]

MODEL, WEIGHTS, STATE = "model.json", "weights.safetensors", "state.safetensors"


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """Everything that is needed to build a model, without its weights.

    Attributes:
        family: Reference of its family.
        backbone: Reference of its backbone.
        config: Hyper-parameters of the family, as JSON; files are named by absolute paths.
        seed: Training seed; it determines the initial weights.
    """

    family: str
    backbone: str
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """Weights on this machine.

    Attributes:
        weights: The file of the weights.
        state: The file of the imported replay buffer, or None.
        digest: SHA-256 of the weights as they are now; for an imported model it equals the recorded one.
        state_digest: SHA-256 of the replay buffer; None if there is none.
        facts: The record of the import: source, format, notes and more.
    """

    weights: Path
    state: Path | None
    digest: str
    state_digest: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def find_weights(
    name: str, weights_root: Path, relative_to: Path, wanted: Mapping[str, Any] | None = None
) -> Found | str:
    """Imported weights by name, or a ``.safetensors`` file by path; or a sentence that says what is wrong: they are
    missing, damaged, changed since the import, or of another model.

    Args:
        name: The value of ``weights`` in a suite.
        weights_root: The weights folder of the settings.
        relative_to: Folder of the suite, where relative paths start.
        wanted: The suite's model: family, backbone, num_classes, image_shape.
    """
    try:
        if name.endswith(".safetensors"):
            path = Path(name).expanduser()
            return _file(path if path.is_absolute() else relative_to / path)
        return _imported(name, weights_root, wanted or {})
    except DamagedFileError as error:
        return f"weights {name!r}: {error}"
    # The name is too long for the file system, a folder may not be entered, or a home folder does not exist.
    except (OSError, RuntimeError, ValueError) as error:
        return f"weights {name[:200]!r} cannot be read: {getattr(error, 'strerror', None) or error}"


def _file(path: Path) -> Found | str:
    if not path.is_file():
        return f"weights {path} {'is not a file' if path.exists() else 'not found'}"
    load_shapes(path)
    return Found(path.resolve(), None, _digest(path))


def _imported(name: str, weights_root: Path, wanted: Mapping[str, Any]) -> Found | str:
    folder = weights_root / name
    if "/" in name or name in ("", ".", "..") or not (folder / MODEL).is_file():
        known = [path.parent.name for path in weights_root.glob(f"*/{MODEL}")]
        hint = did_you_mean(name, known) if known else f"bring one in with: bench import FILE --name {name} …"
        return f"no imported model {name!r} in {weights_root}; {hint}"
    again = f"import it again: delete {folder}, then bench import FILE --name {name} …"
    try:
        facts = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        recorded = str(facts["weights"])
        for key, value in wanted.items():
            if facts[key] != value:
                return f"imported model {name!r} has {key} {facts[key]}, the suite says {value}"
    except (ValueError, TypeError, KeyError, RecursionError):
        return f"imported model {name!r}: {folder / MODEL} is damaged; {again}"
    weights, state = folder / WEIGHTS, folder / STATE
    digest = facts.get("state")
    if not weights.is_file() or (digest is not None and not state.is_file()):
        missing = state if weights.is_file() else weights
        return f"imported model {name!r}: {missing} is missing; {again}"
    if _digest(weights) != recorded:
        return f"imported model {name!r}: {weights} was changed or damaged after the import (another SHA-256); {again}"
    # A replay buffer has gigabytes. It is hashed here only if its size or time differs from the record; its reader
    # always verifies it.
    if digest is not None and facts.get("state_stat") != _stat(state) and _digest(state) != digest:
        return f"imported model {name!r}: {state} was changed or damaged after the import (another SHA-256); {again}"
    kept = {key: facts[key] for key in ("source", "format", "notes", "facts") if key in facts}
    if not state.is_file():
        return Found(weights, None, recorded, None, kept)
    # Imports of former versions recorded no digest of the buffer; it is computed.
    return Found(weights, state, recorded, digest or _digest(state), kept)


def _stat(path: Path) -> list[int]:
    """Size and modification time (ns) of a file; a file with the recorded values counts as unchanged."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _digest(path: Path) -> str:
    """SHA-256 of a file, cached in the process until the file changes."""
    found = path.stat()
    return _hashed(os.fspath(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@lru_cache(maxsize=256)
def _hashed(path: str, *_state: int) -> str:
    return file_digest(Path(path))
