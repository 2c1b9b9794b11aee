"""Reading torch files of strangers with nothing of them executed."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from bench.errors import RequestError

__all__ = ["Stub", "read_inert"]

MOST_STUBS = 100
_REFUSED = frozenset({"os", "posix", "nt", "sys"})
"""Modules whose mere name makes torch refuse a whole file, even where a stub stands for it."""
_RENAMED = "not_executed."
_CONTAINER = "not_executed container"
_LEGACY_HEADER = 3
"""Pickles before that of the object in files of torch < 1.6: magic number, protocol, machine."""


class Stub:
    """Stands for an object of a class that the file names: keeps what the file says of it and does nothing."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Stub:
        """Whatever the file calls it with."""
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, Mapping):
            self.__dict__.update({str(name): value for name, value in state.items()})


def read_inert(path: Path) -> tuple[Any, tuple[str, ...]]:
    """What a torch file holds, with nothing of it executed.

    The file is read with ``weights_only``; every global that torch does not allow becomes an inert ``Stub``, so that a
    pickled module yields its tensors and a call to ``os.system`` yields nothing.

    Returns:
        The content, and the names of the globals that were stubbed.

    Raises:
        RequestError: The file is absent or is no torch file.
    """
    if not path.is_file():
        raise RequestError(f"{path}: no such file")
    stubs: dict[str, type[Stub]] = {}
    try:
        source = _disarmed(path)
        while len(stubs) <= MOST_STUBS:
            # A path where nothing had to be changed: torch then reads the tensors straight from the disk.
            file: Any = path if source is None else source
            if source is not None:
                source.seek(0)
            known: list[Any] = [(stub, name) for name, stub in stubs.items()]
            try:
                with torch.serialization.safe_globals([*known, (_second, _CONTAINER.replace(" ", "."))]):
                    content = torch.load(file, map_location="cpu", weights_only=True)
                return content, tuple(name.removeprefix(_RENAMED) for name in stubs)
            except pickle.UnpicklingError as error:
                name = _unknown(str(error))
                if name is None or name in stubs:
                    raise RequestError(f"{path} cannot be read: {_last_words(error)}") from error
                stubs[name] = type("Stub", (Stub,), {"__doc__": name})
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise RequestError(f"{path} is not a torch file: {error}") from error
    raise RequestError(f"{path} names more than {MOST_STUBS} unknown classes")


def _unknown(message: str) -> str | None:
    """The global that torch's message says it does not know, by the name under which it looks for it."""
    found = re.search(r"Unsupported (?:global|class)[^\n]*?GLOBAL (\S+)", message) or re.search(
        r"GLOBAL (\S+)", message
    )
    if found is None:
        return None
    return found[1] if "." in found[1] else f"builtins.{found[1]}"


def _last_words(error: Exception) -> str:
    """What torch found, without its advice to execute the file."""
    lines = [line for line in str(error).splitlines() if line.strip() and "weights_only" not in line]
    return lines[-1].strip() if lines else "it is not understood"


def _second(_kind: Any, container: Any, *_source: Any) -> Any:
    """The class in what torch < 1.6 wrote for the class of a module: kind, class, file and text of its source."""
    return container


def _disarmed(path: Path) -> IO[bytes] | None:
    """The file with its pickle rewritten so that torch reads it, or None if that needs no change."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
            if name is None:
                return None
            pickled = archive.read(name)
            changed = _rewritten(pickled, list(pickletools.genops(pickled)))
            if changed == pickled:
                return None
            copy = io.BytesIO()
            with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as target:
                for item in archive.namelist():
                    target.writestr(item, changed if item == name else archive.read(item))
            return copy
    with path.open("rb") as file:
        for _ in range(_LEGACY_HEADER):
            for _ in pickletools.genops(file):
                pass
        start = file.tell()
        operations = list(pickletools.genops(file))
        end = file.tell()
        file.seek(start)
        pickled = file.read(end - start)
        operations = [(code, argument, (place or 0) - start) for code, argument, place in operations]
        changed = _rewritten(pickled, operations)
        if changed == pickled:
            return None
        file.seek(0)
        return io.BytesIO(file.read(start) + changed + file.read()[end - start :])


def _rewritten(pickled: bytes, operations: list[tuple[pickletools.OpcodeInfo, Any, int | None]]) -> bytes:
    """A pickle with refused modules under another name, and with the classes of modules as torch >= 1.6 writes them.

    Torch < 1.6 wrote the class of a module as a persistent id, the tuple ("module", class, file, source), which
    ``weights_only`` refuses. It becomes a call of ``_second`` with that tuple.
    """
    places = [place or 0 for _, _, place in operations] + [len(pickled)]
    pieces = [pickled[places[i] : places[i + 1]] for i in range(len(operations))]
    memo: dict[int, str] = {}
    marks: list[int] = []
    text: str | None = None
    opened: int | None = None
    for i, (code, argument, _) in enumerate(operations):
        match code.name:
            case "GLOBAL":
                module, name = str(argument).split(" ", 1)
                if module.partition(".")[0] in _REFUSED:
                    pieces[i] = f"c{_RENAMED}{module}\n{name}\n".encode()
            case "BINPUT" | "LONG_BINPUT" if text is not None:
                memo[int(argument)] = text
            case "MARK":
                marks.append(i)
            case "TUPLE":
                opened = marks.pop()
            case "BINPERSID" if opened is not None and _first(operations[opened + 1], memo) == "module":
                pieces[opened] = f"c{_CONTAINER}".replace(" ", "\n").encode() + b"\n" + pieces[opened]
                pieces[i] = pickle.REDUCE
            case _ if marks and code.stack_before and pickletools.markobject in code.stack_before:
                marks.pop()
        text = argument if isinstance(argument, str) and "UNICODE" in code.name else None
    return b"".join(pieces)


def _first(operation: tuple[pickletools.OpcodeInfo, Any, int | None], memo: Mapping[int, str]) -> str | None:
    code, argument, _ = operation
    if code.name in ("BINGET", "LONG_BINGET"):
        return memo.get(int(argument))
    return argument if isinstance(argument, str) else None
