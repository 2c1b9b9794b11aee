"""Finds modules, and checks whether Python objects and files of weights exist; nothing is imported or loaded."""

from __future__ import annotations

import ast
import functools
import importlib.util
import pkgutil
import sys
import zipfile
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from bench.errors import DamagedFileError, did_you_mean, nearest
from bench.files.tensors import load_shapes
from bench.plugins.declared import REFERENCE, shown

__all__ = ["find_module", "missing_file", "missing_object", "missing_reference"]

_INSTALL = "install its package, or put its folder on the path: PYTHONPATH=. bench …"


def find_module(name: str) -> ModuleSpec | None:
    """The spec of a module, found without importing the packages above it; None if it does not exist."""
    top, *rest = name.split(".")
    try:
        # A worker has another __main__ than this process.
        spec = None if top == "__main__" else importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = _within(spec.name, part, _folders(spec))
    return spec


def _folders(package: ModuleSpec) -> list[str]:
    """Where the modules of a package are; an imported package may have changed it."""
    loaded = getattr(sys.modules.get(package.name), "__path__", None)
    return list(loaded if loaded is not None else package.submodule_search_locations or ())


def _within(package: str, part: str, folders: list[str]) -> ModuleSpec | None:
    """The spec of a module ``part`` of a package in ``folders``."""
    name = f"{package}.{part}"
    try:
        return PathFinder.find_spec(name, folders)
    except KeyError:  # a folder without an __init__ needs the package above it, which was not imported
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [
            str(Path(place) / part) for place in folders if (Path(place) / part).is_dir()
        ]
        return spec


@functools.cache
def missing_reference(reference: str) -> str:
    """Why ``"package.module:attribute"`` does not exist, according to its source, or "" if it does. Nothing is imported
    to find out.
    """
    if not REFERENCE.fullmatch(reference):
        return f"{shown(reference)} is not of the form 'package.module:attribute'"
    module, _, attribute = reference.partition(":")
    found = find_module(module)
    if found is None:
        return f"{reference!r} cannot be imported: there is no module {module!r}"
    try:
        names = _bound_names(ast.parse(Path(found.origin or "").read_bytes())) if _has_source(found) else None
    except (OSError, SyntaxError, ValueError, RecursionError):
        return ""  # the error of the import says more
    first = attribute.partition(".")[0]
    return f"{reference!r}: module {module!r} has no {first!r}" if names is not None and first not in names else ""


def missing_object(reference: str) -> tuple[str, str] | None:
    """What is wrong with ``"package.module:attribute"``, as (message, hint), according to its source. None if it exists
    or may exist: a module can bind names at import (``globals()``, a star import, ``__getattr__``).
    """
    module, separator, attribute = reference.partition(":")
    if not separator or not module or not attribute.isidentifier():
        return f"{reference!r} is not of the form 'package.module:attribute'", ""
    found = find_module(module)
    if found is None:
        return _absent(reference, module)
    if not _has_source(found):
        return None
    source = Path(found.origin or "")
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        return f"{reference!r} cannot be imported: {source}{line}: {getattr(error, 'msg', None) or error}", ""
    except OSError as error:
        return f"{reference!r} cannot be imported: {source}: {error.strerror}", ""
    for statement in _certain(tree.body):
        for name in _imported(statement):
            top = name.partition(".")[0]
            if find_module(top) is None:
                place = f"{source}, line {statement.lineno}"
                return f"{reference!r} cannot be imported: no module {top!r} ({place})", _INSTALL
    names = _bound_names(tree)
    if names is None or attribute in names:
        return None
    public = [name for name in names if not name.startswith("_")]
    return f"module {module!r} ({source}) has no {attribute!r}", did_you_mean(attribute, public)


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


def _absent(reference: str, module: str) -> tuple[str, str]:
    """The message on a module that is not found, with the first part of its name that is missing, and a hint."""
    parts = module.split(".")
    names = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    missing = next(name for name in names if find_module(name) is None)
    above, _, last = missing.rpartition(".")
    package = find_module(above) if above else None
    siblings = pkgutil.iter_modules(None if package is None else _folders(package))
    close = nearest(last, (module.name for module in siblings if not module.name.startswith("_")))
    hint = f"did you mean {close!r}? Else {_INSTALL}" if close else _INSTALL
    return f"{reference!r} cannot be imported: no module {missing!r}", hint


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


def _has_source(spec: ModuleSpec) -> bool:
    """Whether a module has a Python file: it is not built in, compiled, or a package without one."""
    return spec.origin is not None and spec.origin.endswith(".py")


def _bound_names(tree: ast.Module) -> set[str] | None:
    """The names that a module binds when it is imported; None if its source does not tell all of them."""
    names = set(_names(tree.body))
    return None if names & {"*", "__getattr__"} else names


def _names(body: Iterable[ast.AST]) -> Iterator[str]:
    """The names that the statements of a module bind, and ``"*"`` if they may bind others."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
                yield from _global_names(node)
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


def _global_names(function: ast.AST) -> Iterator[str]:
    """The names of the module that a function may bind, and ``"*"`` if it may bind others."""
    for node in ast.walk(function):
        if isinstance(node, ast.Global):
            yield from node.names
        elif isinstance(node, ast.Name) and node.id == "globals":
            yield "*"
