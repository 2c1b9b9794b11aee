"""Checks whether Python objects and weights files that a suite names exist, without importing or loading anything."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import pkgutil
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import DamagedFileError, did_you_mean, nearest
from bench.files.tensors import load_shapes

__all__ = ["Located", "locate_module", "missing_file", "missing_object"]

_INSTALL = "install its package, or put its folder on the path: PYTHONPATH=. bench …"


@dataclass(frozen=True)
class Located:
    """The location of a module.

    Attributes:
        found: Whether Python finds it.
        source: Its Python file, or None (built in, compiled, a package without one, or not found).
        missing: The first part of its name that is not found, such as ``"pack.modle"``.
        siblings: Names that exist where that part was searched.
    """

    found: bool
    source: Path | None = None
    missing: str = ""
    siblings: tuple[str, ...] = ()


def locate_module(name: str) -> Located:
    """The location of a module, found as Python's import would find it, but without importing its packages."""
    places: Sequence[str] | None = None
    spec: importlib.machinery.ModuleSpec | None = None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        full = ".".join(parts[:end])
        try:
            if end == 1:
                # This searches the built-in modules and the path; finding a top-level name imports nothing.
                spec = importlib.util.find_spec(full) if full else None
            else:
                finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
                spec = next((found for find in finders if find and (found := find(full, places, None))), None)
        except (ImportError, ValueError, AttributeError):
            spec = None
        if spec is None or (end < len(parts) and spec.submodule_search_locations is None):
            if spec is not None:
                full = ".".join(parts[: end + 1])
            siblings = tuple(module.name for module in pkgutil.iter_modules(places))
            return Located(False, None, full, siblings)
        places = list(spec.submodule_search_locations) if spec.submodule_search_locations is not None else []
    source = Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
    return Located(True, source)


def missing_object(reference: str) -> tuple[str, str] | None:
    """What is wrong with ``"package.module:attribute"``, as (message, hint), according to its source. None if it exists
    or may exist: a module can bind names at import (``globals()``, a star import, ``__getattr__``).
    """
    module, separator, attribute = reference.partition(":")
    if not separator or not module or not attribute.isidentifier():
        return f"{reference!r} is not of the form 'package.module:attribute'", ""
    located = locate_module(module)
    if not located.found:
        return _absent(located, f"{reference!r} cannot be imported: no module {located.missing!r}")
    if located.source is None:
        return None
    try:
        tree = ast.parse(located.source.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        return f"{reference!r} cannot be imported: {located.source}{line}: {getattr(error, 'msg', None) or error}", ""
    except OSError as error:
        return f"{reference!r} cannot be imported: {located.source}: {error.strerror}", ""
    for statement in _certain(tree.body):
        for name in _imported(statement):
            other = locate_module(name.partition(".")[0])
            if not other.found:
                place = f"{located.source}, line {statement.lineno}"
                return f"{reference!r} cannot be imported: no module {other.missing!r} ({place})", _INSTALL
    names = set(_names(tree.body))
    if attribute in names or names & {"*", "__getattr__"}:
        return None
    public = [name for name in names if not name.startswith("_")]
    return f"module {module!r} ({located.source}) has no {attribute!r}", did_you_mean(attribute, public)


def missing_file(path: Path) -> tuple[str, str] | None:
    """What is wrong with a file of weights, as (message, hint), by a quick check; None if nothing is found."""
    try:
        if path.is_dir():
            return f"{path} is a folder, expected a file", ""
        if not path.is_file():
            return f"{path} not found", _elsewhere(path)
        if path.suffix.lower() == ".safetensors":
            load_shapes(path)
            return None
        with path.open("rb") as file:
            start = file.read(4)
        if start == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            if not any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
                return f"{path} is not a torch file: its archive has no data.pkl", ""
        elif not start.startswith((b"\x80", b"L")):  # the first bytes of the magic number in protocols 2 and 0
            return f"{path} is not a torch file, which begins with another sign", ""
    except DamagedFileError as error:
        return str(error), ""
    except OSError as error:
        return f"{str(path)[:200]} cannot be read: {error.strerror or error}", ""
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        return f"{path} is damaged: {error}", ""
    return None


def _absent(located: Located, message: str) -> tuple[str, str]:
    last = located.missing.rpartition(".")[2]
    close = nearest(last, (name for name in located.siblings if not name.startswith("_")))
    return message, f"did you mean {close!r}? Else {_INSTALL}" if close else _INSTALL


def _elsewhere(path: Path) -> str:
    """A hint for a missing file: a file of a similar name, or that the file is in the working folder."""
    if Path(path.name).is_file():
        return f"paths are relative to the suite; the working folder has {path.name!r}"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    close = nearest(path.name, [found.name for found in path.parent.iterdir() if found.is_file()])
    return f"did you mean {close!r}?" if close else ""


def _certain(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run at every import of the module: none under a condition or in a ``try``."""
    for statement in body:
        if isinstance(statement, ast.With):
            yield from _certain(statement.body)
        else:
            yield statement


def _imported(statement: ast.stmt) -> list[str]:
    """Modules that a statement imports by an absolute name."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
        return [statement.module]
    return []


def _names(body: Iterable[ast.AST]) -> Iterator[str]:
    """The names that the statements of a module bind, and ``"*"`` if they may bind others."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from ((alias.asname or alias.name.partition(".")[0]) for alias in names)
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Call(func=ast.Name(id="globals" | "exec" | "eval" | "vars" | "setattr" | "locals")):
                yield "*"
            case ast.ExceptHandler(name=str(name)):
                yield name
                yield from _names(ast.iter_child_nodes(node))
            case ast.Lambda():
                pass
            case _:
                yield from _names(ast.iter_child_nodes(node))
