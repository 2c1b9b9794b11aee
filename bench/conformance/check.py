"""Finds a plug-in by name or reference, and the checks of its kind."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.attacks.named import ATTACKS
from bench.data.registry import DATASETS
from bench.errors import BenchError, RequestError, did_you_mean, first_line
from bench.evaluate.base import EVALUATIONS
from bench.registry import Registry, UnknownNameError, import_object
from bench.scores.named import SCORES
from bench.spec import BACKBONES, FAMILIES

__all__ = ["KINDS", "Check", "NonConformingError", "checks", "require"]

KINDS: Mapping[str, Registry[Any]] = {
    "family": FAMILIES,
    "backbone": BACKBONES,
    "evaluation": EVALUATIONS,
    "attack": ATTACKS,
    "score": SCORES,
    "dataset": DATASETS,
}
"""The kinds of plug-ins that have checks."""
_OWN_MODULE = ("family", "backbone", "dataset")
"""The kinds with checks of their own; the others measure a small model."""
_HEAVY = ("torch", "torchvision", "sklearn", "matplotlib", "pandas")


class NonConformingError(BenchError):
    """A plug-in breaks its contract; the message says what it did and what is expected."""


@dataclass(frozen=True)
class Check:
    """One check of a plug-in. Calling it raises ``NonConformingError``, or what the plug-in itself raised.

    Attributes:
        name: What has to hold, in a few words; unique among the checks of a plug-in.
        run: Makes the check.
    """

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """Make the check."""
        self.run()

    def __str__(self) -> str:
        return self.name


def require(right: bool, message: str) -> None:
    """Raise ``NonConformingError`` unless ``right``."""
    if not right:
        raise NonConformingError(message)


def checks(
    name: str, *, kind: str | None = None, params: Mapping[str, Any] | None = None, family: str | None = None
) -> tuple[Check, ...]:
    """The checks of a plug-in, in the order in which they build on each other.

    Args:
        name: A registered name, or ``"module:ATTRIBUTE"``.
        kind: One of ``KINDS``; None: the kind of the plug-in with this name.
        params: Values of its parameters; the others have their defaults.
        family: For evaluations, attacks and scores: the family of the small model that they measure, by name or
            reference; None: a network with two convolutions that does not generate.

    Raises:
        RequestError: Nothing has this name, or more than one kind has it.
    """
    found, plug_in = _found(name, kind)
    light = Check("its module imports without torch", lambda: _light(name, found, plug_in))
    module = importlib.import_module(f"bench.conformance.of_{found if found in _OWN_MODULE else 'measure'}")
    own: tuple[Check, ...] = module.checks(found, name, plug_in, dict(params or {}), family)
    return (light, *own)


def _found(name: str, kind: str | None) -> tuple[str, Any]:
    registries = {kind: KINDS[kind]} if kind is not None else KINDS
    if ":" in name and kind is None:
        registries = _of_type(name) or registries
    found: dict[str, Any] = {}
    reasons: list[UnknownNameError] = []
    for which, registry in registries.items():
        try:
            found[which] = registry.get(name)
        except UnknownNameError as error:
            if f"unknown {registry.kind}" not in error.reason:
                reasons.append(error)
    if len(found) > 1:
        raise RequestError(f"{' and '.join(found)} are both called {name!r}; say which: --kind {next(iter(found))}")
    if found:
        return next(iter(found.items()))
    if reasons:
        raise reasons[0]
    known = [known for registry in registries.values() for known in registry.names()]
    module = name.replace("-", "_")
    if module.isidentifier() and any(Path(place).exists() for place in (module, f"{module}.py")):
        said = f"its variable, such as PYTHONPATH=. bench check-plugin {module}:SPEC"
        raise RequestError(f"no plug-in is called {name!r}; one that is not installed is named by {said}")
    raise RequestError(f"no plug-in is called {name!r}; {did_you_mean(name, known)}")


def _of_type(reference: str) -> dict[str, Registry[Any]]:
    """The registry whose type the object of a reference has; empty if it has none."""
    try:
        value = import_object(reference)
    except (Exception, SystemExit) as error:  # a plug-in's module may raise anything at import
        hint = "put its folder on the path: PYTHONPATH=. bench …" if isinstance(error, ModuleNotFoundError) else ""
        told = f"plug-in {reference!r} cannot be imported: {first_line(error)}"
        raise RequestError(f"{told}; {hint}" if hint else told) from error
    made = value if isinstance(value, type) else type(value)
    return {kind: registry for kind, registry in KINDS.items() if issubclass(made, registry.type)}


def _light(name: str, kind: str, plug_in: Any) -> None:
    """Import the module of a plug-in in a process of its own, as every ``bench list`` does."""
    points = metadata.entry_points(group=KINDS[kind].group)
    registered = next((point.value for point in points if point.name == plug_in.name), None)
    reference = name if ":" in name else registered
    module = reference.partition(":")[0] if reference else type(plug_in).__module__
    code = f"import sys, {module}; print(*(name for name in {_HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stderr.strip().splitlines() or [""])[-1]
    require(done.returncode == 0, f"module {module!r} cannot be imported alone: {last}")
    heavy = done.stdout.split()
    require(
        not heavy,
        f"importing {module!r} imports {', '.join(heavy)}, so every `bench list` would wait for it: import it in the "
        "functions that need it, or in the module of the implementation",
    )
