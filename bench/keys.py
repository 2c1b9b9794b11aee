"""Keys of jobs: Merkle hashes over declared inputs, computed before anything runs."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

__all__ = ["canonical", "digest", "file_digest", "source_digest", "tree_digest"]


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal content gives equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 40 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:40]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_digest(path: Path) -> str:
    """Digest of a Python file's code, 16 hexadecimal digits; comments, docstrings and layout do not count."""
    return tree_digest(ast.parse(path.read_bytes()))


def tree_digest(tree: ast.Module) -> str:
    """The ``source_digest`` of a parsed file, 16 hexadecimal digits. Removes the docstrings from ``tree``."""
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
