"""Weights that were not trained here: where imported models lie and what is known of them. Light."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import did_you_mean
from bench.keys import file_digest

__all__ = ["MODEL", "STATE", "WEIGHTS", "Found", "find_weights"]

MODEL, WEIGHTS, STATE = "model.json", "weights.safetensors", "state.safetensors"


@dataclass(frozen=True)
class Found:
    """Weights on this machine: their files and the SHA-256 of the former."""

    weights: Path
    state: Path | None
    digest: str


def find_weights(
    name: str, weights_root: Path, relative_to: Path, wanted: Mapping[str, Any] | None = None
) -> Found | str:
    """Imported weights by name, or a ``.safetensors`` file by path; or one sentence that says what is wrong.

    Args:
        name: What a suite gives as ``weights``.
        weights_root: The weights folder of the settings.
        relative_to: Folder of the suite, where relative paths start.
        wanted: What the model is in the suite: family, backbone, num_classes, image_shape.
    """
    if name.endswith(".safetensors"):
        path = Path(name).expanduser()
        path = path if path.is_absolute() else relative_to / path
        if not path.is_file():
            return f"weights {path} not found"
        return Found(path.resolve(), None, file_digest(path))
    folder = weights_root / name
    if not (folder / MODEL).is_file():
        known = [path.parent.name for path in weights_root.glob(f"*/{MODEL}")]
        hint = did_you_mean(name, known) if known else f"bring one in with: bench import FILE --name {name} …"
        return f"no imported model {name!r} in {weights_root}; {hint}"
    facts = json.loads((folder / MODEL).read_text(encoding="utf-8"))
    for key, value in (wanted or {}).items():
        if facts[key] != value:
            return f"imported model {name!r} has {key} {facts[key]}, the suite says {value}"
    state = folder / STATE
    return Found(folder / WEIGHTS, state if state.is_file() else None, str(facts["weights"]))
