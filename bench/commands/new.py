"""Writes the skeleton of a plug-in with its contract test and a suite: ``bench new``."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.commands.describe import listing
from bench.errors import RequestError
from bench.suite.settings import packaged

__all__ = ["ATTRIBUTES", "Written", "write_skeleton"]

ATTRIBUTES: Mapping[str, str] = {
    "family": "SPEC",
    "evaluation": "EVALUATION",
    "attack": "ATTACK",
    "score": "SCORE",
    "backbone": "BACKBONE",
    "dataset": "DATASET",
}
"""The kinds of skeletons, and the attribute of the module that a suite names."""

_LISTED = {"family": "families", **{kind: f"{kind}s" for kind in ATTRIBUTES if kind != "family"}}
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_LONGEST = 60


@dataclass(frozen=True)
class Written:
    """The files of a skeleton and how to go on.

    Attributes:
        files: Paths relative to the folder.
        reference: How suites name the plug-in, ``"module:ATTRIBUTE"``.
        commands: The next three commands.
    """

    files: tuple[Path, ...]
    reference: str
    commands: tuple[str, ...]


def write_skeleton(kind: str, name: str, folder: Path) -> Written:
    """Write a skeleton into a folder. Nothing is written if a file of it exists.

    Args:
        kind: One of ``ATTRIBUTES``.
        name: Lower-case words with "-" or "_" between them, such as ``my-family``. The module is ``my_family``.
        folder: Where to write.

    Raises:
        RequestError: The name cannot be used or is taken, or a file exists.
    """
    module = _module(name)
    called = module.replace("_", "-")
    if called in [known.name for known in listing(_LISTED[kind])]:
        raise RequestError(f"there is a plug-in {called!r} of this kind already; take another name")
    words = {"a_skeleton": module, "a-skeleton": module.replace("_", "-"), "ASkeleton": _class(module)}
    source = packaged("_skeletons", "skeletons") / kind
    texts = {
        Path(_renamed(str(path.relative_to(source)), words)): _renamed(path.read_text(encoding="utf-8"), words)
        for path in sorted(source.rglob("*"))
        if path.is_file() and path.suffix in (".py", ".toml")
    }
    existing = [str(path) for path in texts if (folder / path).exists()]
    if existing or (folder / module).exists():
        raise RequestError(
            f"{', '.join(existing) or module} exists in {folder}; nothing was written: take another name"
        )
    _importable(module)
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    reference = f"{module}:{ATTRIBUTES[kind]}"
    suite = next(path for path in texts if path.suffix == ".toml")
    test = next(path for path in texts if path.name.startswith("test_"))
    commands = (
        f"PYTHONPATH=. bench check-plugin {reference}",
        f"PYTHONPATH=. bench run {suite}",
        f"PYTHONPATH=. python -m pytest {test}",
    )
    return Written(tuple(sorted(texts)), reference, commands)


def _renamed(text: str, words: Mapping[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


def _class(module: str) -> str:
    return "".join(word.capitalize() for word in module.split("_"))


def _module(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        close = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()).strip("-")
        hint = f"; did you mean {close!r}?" if _NAME.fullmatch(close) and len(close) <= _LONGEST else ""
        raise RequestError(
            f"{name[:100]!r} is no name of a plug-in: lower-case letters and digits, words joined by '-' or '_', first "
            f"a letter, at most {_LONGEST} characters{hint}"
        )
    return name.replace("-", "_")


def _importable(module: str) -> None:
    """Refuse a module that cannot be imported by its name, or that would hide another one.

    Raises:
        RequestError: The name is taken.
    """
    if keyword.iskeyword(module) or module in sys.stdlib_module_names:
        raise RequestError(f"{module!r} is a name of Python itself; take another one")
    if importlib.util.find_spec(module) is not None:
        raise RequestError(f"a module {module!r} is installed; take another name")
