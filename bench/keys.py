"""Keys of jobs: a Merkle hash over inputs as declared, known before anything ran."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["canonical", "component", "derive_seed", "digest", "file_digest", "source_digest"]


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal content gives equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 40 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:40]


def derive_seed(seed: int, *names: str | int) -> int:
    """An independent 63-bit seed for each purpose, so that no two streams of randomness share a state."""
    text = canonical([seed, *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def component(name: str, version: int | None, implementation: str) -> Mapping[str, Any]:
    """What identifies code in a key: the declared version, or the digest of the source where none is declared.

    Args:
        name: Registered name.
        version: Integer raised by hand when a number changes, or None.
        implementation: ``"module:object"``.
    """
    if version is not None:
        return {"name": name, "version": version}
    module = implementation.partition(":")[0]
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return {"name": name, "source": "unknown"}
    return {"name": name, "source": source_digest(Path(found.origin))}


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_digest(path: Path) -> str:
    """Digest of what a Python file does: comments, docstrings and layout do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            first = body[0] if body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]
