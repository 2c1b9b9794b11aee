"""Identifies code in keys: by a declared version, or by the source of everything that an implementation imports.

The source covers the modules that users edit: those of the implementation's own distribution, and all outside of
installed packages. Other installed packages count by the version of their distribution. ``uncovered`` lists
dependencies that neither covers.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

from bench.plugins.locating import find_module
from bench.plugins.source_scan import Scan, scan

__all__ = ["SEEDING_VERSION", "Sources", "component", "source_facts", "sources", "uncovered"]

SEEDING_VERSION = 1
"""Raise this when a change in the seeding of global generators (``bench.rng``) changes a number of code that draws from
them. It is in the keys of backbones that declare ``draws``, and of all code that declares no version.
"""

_CONTRACT = ("bench.family", "bench.metrics", "bench.scores", "bench.attacks", "bench.data.resize")
"""Modules and packages of the harness that compute numbers for plug-ins; each counts as a whole."""
_REQUIRED = {
    *("torch", "torchvision", "numpy", "scipy", "sklearn", "pandas", "matplotlib", "PIL", "torchattacks"),
    *("pytorch_fid", "pydantic", "pydantic_core", "click", "rich", "safetensors", "typing_extensions", "foolbox"),
}
"""Libraries that the harness itself uses. Records contain their versions; no keys do, so that an upgrade keeps them."""
_MOST = 300
"""Largest number of modules read for one implementation. Code with more is a library, identified by its version."""


@dataclass
class Sources:
    """The code that an implementation depends on.

    Attributes:
        files: Digest of the source of each covered module, by dotted name; the implementation's own comes first.
        distributions: Version of each other distribution that one of them imports.
        uncovered: Descriptions of dependencies whose edits do not change the key.
    """

    files: dict[str, str] = field(default_factory=dict)
    distributions: dict[str, str] = field(default_factory=dict)
    uncovered: list[str] = field(default_factory=list)


def component(name: str, version: int | None, implementation: str) -> Mapping[str, Any]:
    """The part of a key that identifies code: the declared version, or all of its source if none is declared.

    Args:
        name: Registered name.
        version: Integer raised by hand when a number changes, or None.
        implementation: ``"module:object"``.
    """
    if version is not None:
        return {"name": name, "version": version}
    return {"name": name, **source_facts(implementation)}


def source_facts(implementation: str) -> Mapping[str, Any]:
    """The part of a key that identifies code without a version: ``source``, and its imports if it has any.

    Args:
        implementation: ``"module:object"``.
    """
    module = implementation.partition(":")[0]
    found = sources(module)
    facts: dict[str, Any] = {"source": found.files.get(module, "unknown"), "seeding": SEEDING_VERSION}
    imports = {name: digest for name, digest in sorted(found.files.items()) if name != module}
    if imports:
        facts["imports"] = imports
    if found.distributions:
        facts["distributions"] = dict(sorted(found.distributions.items()))
    return facts


def uncovered(what: str, version: int | None, implementation: str) -> tuple[str, ...]:
    """Warnings about code whose key does not cover all that it depends on; empty if it declares a version.

    Args:
        what: The component, such as ``"family 'mine'"``.
        version: The declared version, or None.
        implementation: ``"module:object"``.
    """
    if version is not None:
        return ()
    texts = list(dict.fromkeys(sources(implementation.partition(":")[0]).uncovered))
    if not texts:
        return ()
    shown = "; ".join(texts[:4]) + (f"; and {len(texts) - 4} more" if len(texts) > 4 else "")
    told = (
        f"{what}: a change of the following is not noticed, and results from before it would be shown as current: "
        f"{shown}. Declare a version and raise it with such a change, or run again with --force"
    )
    return (told,)


def sources(module: str) -> Sources:
    """The implementation's module and all that it imports, directly or not.

    Args:
        module: Dotted name. Packages around it are not imported to find it.
    """
    return _Walk(module).found


class _Walk:
    def __init__(self, root: str) -> None:
        self.found = Sources()
        self.root = root
        self.top = root.partition(".")[0]
        self._seen: set[str] = set()
        spec = find_module(root)
        if spec is None or not _is_file(spec):
            self.found.uncovered.append(f"{root}, whose source cannot be found")
            return
        self.installed = _installed(spec)
        if self.installed and self.top in _REQUIRED:
            self._version_of(self.top)
        todo = [root]
        while todo:
            name = todo.pop(0)
            if name in self._seen:
                continue
            self._seen.add(name)
            if len(self.found.files) >= _MOST:
                self.found.uncovered.append(f"{root}, which imports more than {_MOST} modules")
                self._version_of(self.top)
                return
            todo += self._visit(name, find_module(name))

    def _visit(self, name: str, spec: ModuleSpec | None) -> Iterator[str]:
        """Record a module, and yield the modules that it imports."""
        if spec is None:
            return
        parent = name.rpartition(".")[0]
        if parent:  # importing a module runs the packages above it
            yield parent
        if not _is_file(spec) or not self._is_covered(name, spec):
            return
        assert spec.origin is not None
        if not isinstance(spec.loader, SourceFileLoader):
            self.found.uncovered.append(f"{name}, which is no Python source")
            return
        try:
            scanned = scan(Path(spec.origin), name, package=spec.submodule_search_locations is not None)
        except (OSError, SyntaxError, ValueError):
            self.found.uncovered.append(f"{name}, which cannot be read")
            return
        self.found.files[name] = scanned.digest
        if _is_contract(name):
            yield from self._of_the_contract(name, spec, scanned)
            return
        if not (self.installed and self.top in _REQUIRED):
            self.found.uncovered += [f"what {name} {text}" for text in map(_after_the_name, scanned.elsewhere)]
        yield from self._imports(name, scanned)

    def _imports(self, name: str, scanned: Scan) -> Iterator[str]:
        for imported in scanned.imports:
            spec = find_module(imported.name)
            if spec is None:
                if imported.certain:
                    self.found.uncovered.append(f"{imported.name}, which {name} imports and is not found")
                continue
            yield imported.name
            if imported.star and spec.origin and spec.submodule_search_locations and _is_file(spec):
                try:
                    exported = scan(Path(spec.origin), imported.name, package=True).exported
                except (OSError, SyntaxError, ValueError):
                    continue
                yield from (f"{imported.name}.{part}" for part in exported)

    def _of_the_contract(self, name: str, spec: ModuleSpec, scanned: Scan) -> Iterator[str]:
        """All modules of a package that computes numbers, because they find each other by name."""
        yield from (imported.name for imported in scanned.imports)
        if name in _CONTRACT and spec.submodule_search_locations and spec.origin:
            yield from sorted(f"{name}.{path.stem}" for path in Path(spec.origin).parent.glob("*.py"))

    def _is_covered(self, name: str, spec: ModuleSpec) -> bool:
        """Whether the source of a module counts; otherwise the version of its distribution does."""
        top = name.partition(".")[0]
        if top == "bench":
            return _is_contract(name) or name == self.root
        if name == self.root:
            return True
        if _is_standard(spec):
            return False
        if not _installed(spec):
            return True
        if top in _REQUIRED:
            return False
        if self.installed and top == self.top:
            return True
        own = {_distribution(self.top) if self.installed else None, _distribution("bench"), None}
        if _distribution(top) in own:  # its own, our families, or a loose file among installed packages
            return True
        self._version_of(top)
        return False

    def _version_of(self, top: str) -> None:
        name = _distribution(top)
        if name is not None:
            self.found.distributions[name] = metadata.version(name)


def _after_the_name(text: str) -> str:
    line, number, rest = text.split(" ", 2)
    return f"({line} {number}) {rest}"


def _is_contract(name: str) -> bool:
    """Whether a module of the harness computes numbers for plug-ins."""
    return any(name == part or name.startswith(f"{part}.") for part in _CONTRACT)


def _is_file(spec: ModuleSpec) -> bool:
    return bool(spec.has_location and spec.origin and Path(spec.origin).is_file())


@cache
def _standard() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})


def _is_standard(spec: ModuleSpec) -> bool:
    """Whether a module belongs to Python's standard library."""
    path = Path(spec.origin or "").resolve()
    return not _installed(spec) and any(path.is_relative_to(folder) for folder in _standard())


def _installed(spec: ModuleSpec) -> bool:
    """Whether a module is in a folder of installed packages, which users do not edit."""
    return bool({"site-packages", "dist-packages"} & set(Path(spec.origin or "").parts))


@cache
def _distribution(top: str) -> str | None:
    """The distribution of a top-level module."""
    try:
        return metadata.distribution(top).name
    except metadata.PackageNotFoundError:
        return next(iter(_distributions().get(top, ())), None)


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()
