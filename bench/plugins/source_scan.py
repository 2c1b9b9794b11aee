"""Finds the imports of a Python file, and its other inputs that imports do not show. Nothing is executed."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bench.keys import tree_digest

__all__ = ["Imported", "Scan", "imports_of", "scan"]


@dataclass(frozen=True)
class Imported:
    """A name that a file imports.

    Attributes:
        name: Absolute dotted name. It may be an attribute of a module if ``certain`` is false.
        certain: Whether it must be a module: true for ``x`` in ``import x`` and ``from x import y``, false for ``x.y``
            in the latter, and false if the file handles its absence.
        star: Whether everything that ``name`` exports is imported.
    """

    name: str
    certain: bool = True
    star: bool = False


@dataclass(frozen=True)
class Scan:
    """The content of a file that matters for keys.

    Attributes:
        digest: Digest of the code (``bench.keys.source_digest``).
        imports: The imports, in the order of the file.
        elsewhere: Descriptions of other inputs, such as ``"line 3 opens files (numpy.load)"``.
        exported: The literal ``__all__``, for star imports.
    """

    digest: str
    imports: tuple[Imported, ...]
    elsewhere: tuple[str, ...]
    exported: tuple[str, ...]


def scan(path: Path, module: str, *, package: bool) -> Scan:
    """Scan a file. The result is cached until the file's size or time changes.

    Args:
        path: The file.
        module: Its dotted name.
        package: Whether it is the ``__init__`` of that name.

    Raises:
        OSError: It cannot be read.
        SyntaxError: It is not valid in this version of Python.
        ValueError: It contains null bytes.
    """
    facts = path.stat()
    return _scan(path, module, package, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=4096)
def _scan(path: Path, module: str, package: bool, _time: int, _size: int) -> Scan:
    # Parsed from bytes, because a file may declare its encoding.
    tree = ast.parse(path.read_bytes())
    imports = tuple(imports_of(tree, module, package=package))
    return Scan(tree_digest(tree), imports, tuple(_elsewhere(tree)), tuple(_exported(tree)))


def imports_of(tree: ast.AST, module: str, *, package: bool) -> Iterator[Imported]:
    """Everything that a file imports, including imports inside functions and under conditions.

    Args:
        tree: The parsed file.
        module: Its dotted name, for relative imports.
        package: Whether it is the ``__init__`` of that name.
    """
    own = module if package else module.rpartition(".")[0]
    bound = _bound(tree)
    for node, optional in _nodes(tree, optional=False):
        if isinstance(node, ast.Import):
            yield from (Imported(alias.name, not optional) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _resolved("." * node.level + (node.module or ""), own)
            if base is None:
                continue
            yield Imported(base, not optional, star=any(alias.name == "*" for alias in node.names))
            yield from (Imported(f"{base}.{alias.name}", certain=False) for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and _called(node, bound) in _IMPORTERS:
            name = _literal_import(node, own, module)
            if name is not None:
                yield Imported(name, not optional)


_IMPORTERS = {"importlib.import_module", "__import__", "builtins.__import__"}
_CODE = {
    **dict.fromkeys(("exec", "eval", "builtins.exec", "builtins.eval"), "runs code that it makes"),
    **dict.fromkeys(("runpy.run_path", "runpy.run_module"), "runs a script"),
    **dict.fromkeys(
        ("importlib.util.spec_from_file_location", "importlib.machinery.SourceFileLoader", "imp.load_source"),
        "imports a file by its path",
    ),
    **dict.fromkeys(("pkgutil.iter_modules", "pkgutil.walk_packages"), "imports what it finds in a folder"),
    **dict.fromkeys(
        ("importlib.metadata.entry_points", "pkg_resources.iter_entry_points"), "imports what is registered elsewhere"
    ),
    **dict.fromkeys(
        ("ctypes.CDLL", "ctypes.cdll.LoadLibrary", "torch.ops.load_library", "torch.classes.load_library"),
        "loads compiled code",
    ),
    **dict.fromkeys(
        ("torch.utils.cpp_extension.load", "torch.utils.cpp_extension.load_inline"), "compiles code of its own"
    ),
    **dict.fromkeys(("subprocess.run", "subprocess.Popen", "subprocess.check_output", "os.system"), "runs a program"),
    "torch.hub.load": "loads code from a repository",
}
_FILES = {
    *("open", "builtins.open", "io.open", "os.open", "codecs.open"),
    *("numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile", "numpy.memmap"),
    *("torch.load", "torch.jit.load", "torch.hub.load_state_dict_from_url", "torch.from_file"),
    *("safetensors.safe_open", "safetensors.torch.load_file", "safetensors.numpy.load_file", "joblib.load"),
    *("scipy.io.loadmat", "pandas.read_csv", "pandas.read_parquet", "pandas.read_pickle", "h5py.File"),
    *("pkgutil.get_data", "importlib.resources.files", "importlib.resources.read_text"),
    *("importlib.resources.read_binary", "importlib.resources.open_text", "importlib.resources.open_binary"),
    *("sqlite3.connect", "urllib.request.urlopen", "urllib.request.urlretrieve", "requests.get"),
}
_METHODS = {"read_text", "read_bytes", "open"}
"""Methods of paths and of ``PIL.Image`` that open files. The source alone does not tell the type of their object."""


def _elsewhere(tree: ast.AST) -> Iterator[str]:
    bound = _bound(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _called(node, bound)
        if name in _IMPORTERS:
            if _literal_import(node, "", "") is None:
                yield f"line {node.lineno} imports a module by a name that it makes"
        elif name in _CODE:
            yield f"line {node.lineno} {_CODE[name]} ({name})"
        elif name in _FILES or (isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS):
            yield f"line {node.lineno} opens files ({name or node.func.attr})"  # type: ignore[attr-defined]


def _nodes(node: ast.AST, *, optional: bool) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes, each with whether an import there is optional: the file handles its failure, or it is for type
    checkers only.
    """
    yield node, optional
    for name, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        tried = isinstance(node, ast.Try) and name == "body" and bool(node.handlers)
        typed = isinstance(node, ast.If) and name == "body" and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in children:
            if isinstance(child, ast.AST):
                yield from _nodes(child, optional=optional or tried or typed)


def _bound(tree: ast.AST) -> dict[str, str]:
    """The full names of imported local names: ``numpy`` for ``np``, ``torch.load`` for ``load``."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return bound


def _called(call: ast.Call, bound: dict[str, str]) -> str:
    """The full name of the called function, or "" if it is not a plain name."""
    parts: list[str] = []
    node: ast.expr = call.func
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([bound.get(node.id, node.id), *reversed(parts)])


def _literal_import(call: ast.Call, own: str, module: str) -> str | None:
    """The module in a call of ``import_module`` with a literal name, or None."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    first = call.args[0] if call.args else given.get("name")
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return None
    if not first.value.startswith("."):
        return first.value
    anchor = call.args[1] if len(call.args) > 1 else given.get("package")
    if isinstance(anchor, ast.Constant) and isinstance(anchor.value, str):
        return _resolved(first.value, anchor.value)
    if isinstance(anchor, ast.Name) and anchor.id in ("__package__", "__name__"):
        return _resolved(first.value, own if anchor.id == "__package__" else module) or first.value
    return None


def _resolved(name: str, package: str) -> str | None:
    if not name.startswith("."):
        return name
    try:
        return importlib.util.resolve_name(name, package)
    except ImportError:  # relative beyond the top-level package; the import itself would fail, too
        return None


def _exported(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            value = getattr(node, "value", None)
            if isinstance(value, ast.List | ast.Tuple):
                yield from (e.value for e in value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str))
