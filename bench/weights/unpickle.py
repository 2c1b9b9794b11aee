"""Reads foreign pickles as plain data: an interpreter of the opcodes that imports and calls nothing that a file names.

Python's own unpickler imports and calls whatever a file names, and allocates whatever it claims. Here a global of the
file is only its name, and a call of one becomes a ``Stub`` with its arguments. Only the few constructors that state
dicts consist of are carried out; ``bench.weights.torch_files`` adds those of tensors. Limits are checked before memory
or time is spent.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["MOST_BYTES", "MOST_OPERATIONS", "MOST_STUBS", "Global", "Stub", "Unpickled", "shown", "unpickle"]

MOST_STUBS = 100
"""Largest number of unknown classes and functions that one file may name."""
MOST_OPERATIONS = 2_000_000
"""Largest number of opcodes of one pickle; a checkpoint of WRN-28-10 with its optimiser has about 10,000."""
MOST_BYTES = 64 * 2**20
"""Largest number of bytes of one pickle, without tensors."""
_LONGEST_NAME = 200

Call = Callable[..., Any]


@dataclass(frozen=True)
class Global:
    """A class or function that the file names, as ``"module.name"``; it is not imported."""

    name: str


class Stub:
    """An inert substitute for an object of an unknown class. It keeps the data that the file has of the object.

    If the file gives the attributes of the object as a mapping, they are attributes of the stub.

    Args:
        name: The class or function that the file names for it.
    """

    def __init__(self, name: str) -> None:
        self.stub_of = name


@dataclass(frozen=True)
class Unpickled:
    """The content of a pickle.

    Attributes:
        value: Python containers, numbers and strings; stubs; results of ``persistent`` and ``calls``.
        end: Offset of the byte after the pickle.
        stubbed: Names of the unknown globals, in order of appearance.
    """

    value: Any
    end: int
    stubbed: tuple[str, ...]


def shown(text: object) -> str:
    """A name in a file as printable text: control characters are escaped, at most 200 characters."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[:_LONGEST_NAME])
    return plain.encode("utf-8", "replace").decode() + ("…" if len(str(text)) > _LONGEST_NAME else "")


def unpickle(
    content: bytes,
    start: int = 0,
    *,
    persistent: Callable[[Any], Any] | None = None,
    calls: Mapping[str, Call] | None = None,
    most_stubs: int = MOST_STUBS,
) -> Unpickled:
    """Interpret one pickle, of any protocol.

    Args:
        content: Bytes that contain the pickle.
        start: Offset of its first byte.
        persistent: Called with each persistent id; None refuses such ids.
        calls: Our functions to call for globals of the file, by ``"module.name"``. They check their arguments.
        most_stubs: Largest number of unknown classes and functions that the pickle may name.

    Raises:
        ValueError: It is not a pickle, is damaged, or exceeds a limit of this module.
    """
    if len(content) - start > MOST_BYTES:
        content = content[: start + MOST_BYTES]
    stream = io.BytesIO(content)
    stream.seek(start)
    machine = _Machine(persistent, {**_CALLS, **(calls or {})}, most_stubs)
    # ``genops`` parses the arguments and checks their lengths against the remaining bytes.
    for code, argument, _ in pickletools.genops(stream):
        machine.spend(1)
        machine.step(code.name, argument)
    if len(machine.stack) != 1 or machine.marks:
        raise ValueError("its pickle ends with an unfinished object")
    return Unpickled(machine.stack[0], stream.tell(), tuple(machine.stubbed))


class _Machine:
    """The stack machine of pickle: values, marks (depths of the stack) and the memo."""

    def __init__(
        self, persistent: Callable[[Any], Any] | None, calls: Mapping[str, Call], most_stubs: int = MOST_STUBS
    ) -> None:
        self.persistent = persistent
        self.calls = calls
        self.most_stubs = most_stubs
        self.spent = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.stubbed: dict[str, None] = {}

    def spend(self, operations: int) -> None:
        """Count operations against the limit. Copying a container counts its elements, since a memo makes large copies
        cheap to write.
        """
        self.spent += operations
        if self.spent > MOST_OPERATIONS:
            raise ValueError(f"its pickle has more than {MOST_OPERATIONS:,} operations")

    def step(self, name: str, argument: Any) -> None:
        """Carry out one opcode.

        Raises:
            ValueError: It is invalid in this state of the machine, or is not an opcode of pickle.
        """
        push = self.stack.append
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                push({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_LIST" | "EMPTY_SET":
                push([])
            case "EMPTY_DICT":
                push({})
            case "EMPTY_TUPLE":
                push(())
            case "MARK":
                self.marks.append(len(self.stack))
            case "POP":
                self._pop_any()
            case "POP_MARK":
                self._since_mark()
            case "DUP":
                push(self._top())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self._top()
            case "MEMOIZE":
                self.memo[len(self.memo)] = self._top()
            case "GET" | "BINGET" | "LONG_BINGET":
                if argument not in self.memo:
                    raise ValueError(f"its pickle refers to entry {argument} of its memo, which is not there")
                push(self.memo[argument])
            case "LIST" | "FROZENSET":
                push(self._since_mark())
            case "TUPLE":
                push(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                push(tuple(self._pop(int(name[-1]))))
            case "DICT":
                filled: dict[Any, Any] = {}
                _set_items(filled, self._since_mark())
                push(filled)
            case "APPEND":
                _append(self._top(1), self._pop(1))
            case "APPENDS" | "ADDITEMS":
                items = self._since_mark()
                _append(self._top(), items)
            case "SETITEM":
                pair = self._pop(2)
                _set_items(self._top(), pair)
            case "SETITEMS":
                items = self._since_mark()
                _set_items(self._top(), items)
            case "GLOBAL":
                push(self._global(*str(argument).split(" ", 1)))
            case "STACK_GLOBAL":
                push(self._global(*self._pop(2)))
            case "INST":
                items = self._since_mark()
                push(self._call(self._global(*str(argument).split(" ", 1)), items))
            case "OBJ":
                function, *items = self._since_mark() or [None]
                push(self._call(function, items))
            case "REDUCE" | "NEWOBJ":
                function, items = self._pop(2)
                push(self._call(function, items))
            case "NEWOBJ_EX":
                function, items, _ = self._pop(3)
                push(self._call(function, items))
            case "BUILD":
                (state,) = self._pop(1)
                target = self._top()
                if isinstance(target, Stub):
                    self.spend(sum(map(_amount, state if isinstance(state, tuple) else (state,))))
                    _fill(target, state)
            case "PERSID" | "BINPERSID":
                if self.persistent is None:
                    raise ValueError("its pickle refers to data outside of it where there are none")
                push(self.persistent(argument if name == "PERSID" else self._pop(1)[0]))
            case "EXT1" | "EXT2" | "EXT4" | "NEXT_BUFFER" | "READONLY_BUFFER":
                raise ValueError(f"its pickle uses {name}, which means nothing outside of the program that wrote it")
            case _:  # numbers, strings and bytes, whose value genops returns
                push(argument.encode("utf-8", "replace").decode() if isinstance(argument, str) else argument)

    def _top(self, below: int = 0) -> Any:
        if len(self.stack) - below <= (self.marks[-1] if self.marks else 0):
            raise ValueError("its pickle takes more than it has")
        return self.stack[-1 - below]

    def _pop(self, count: int) -> list[Any]:
        self._top(count - 1)
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _pop_any(self) -> None:
        """``POP`` takes a value, or the mark if that is on top."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self._pop(1)

    def _since_mark(self) -> list[Any]:
        if not self.marks:
            raise ValueError("its pickle ends a group that it never began")
        place = self.marks.pop()
        values = self.stack[place:]
        del self.stack[place:]
        return values

    def _global(self, module: Any, name: Any = "") -> Global:
        found = Global(shown(f"{_MODULES.get(module, module) if isinstance(module, str) else module}.{name}"))
        if found.name not in self.calls and found.name not in _HARMLESS:
            self.stubbed[found.name] = None
            if len(self.stubbed) > self.most_stubs:
                raise ValueError(f"it names more than {self.most_stubs} unknown classes")
        return found

    def _call(self, function: Any, arguments: Any) -> Any:
        """The result of calling a global: that of our function for it, else a stub."""
        if not isinstance(function, Global) or not isinstance(arguments, tuple | list):
            raise ValueError("its pickle calls something that is no class or function")
        self.spend(sum(map(_amount, arguments)))
        known = self.calls.get(function.name)
        return Stub(function.name) if known is None else known(*arguments)


def _amount(value: Any) -> int:
    """The number of operations that copying a value counts as."""
    if isinstance(value, list | tuple | dict):
        return len(value)
    return len(value) // 64 if isinstance(value, str | bytes) else 0


def _fill(stub: Stub, state: Any) -> None:
    """Set a stub's attributes from a pickled state: a mapping, or a pair of mappings (attributes, slots)."""
    name = stub.stub_of
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, Mapping):
            vars(stub).update({key: value for key, value in part.items() if isinstance(key, str)})
    stub.stub_of = name


def _append(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Stub):
        raise ValueError("its pickle appends to something that is no list")


def _set_items(target: Any, items: list[Any]) -> None:
    if len(items) % 2:
        raise ValueError("its pickle has a key without a value")
    if isinstance(target, Stub):
        return
    if not isinstance(target, dict):
        raise ValueError("its pickle sets items of something that is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Hashing a tuple recurses without a bound on depth. State dicts have no nested tuples as keys.
        parts = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, str | bytes | int | float | None | Stub | Global) for part in parts):
            raise ValueError("its pickle has a key that is neither text nor number")
        target[key] = value


def _dictionary(*arguments: Any) -> dict[Any, Any]:
    """Implements ``dict``, ``OrderedDict`` and ``defaultdict``: empty, or from pairs, as Python 2 wrote them."""
    filled: dict[Any, Any] = {}
    for argument in arguments:
        if isinstance(argument, dict):
            filled.update(argument)
        elif isinstance(argument, list | tuple):
            for pair in argument:
                if not isinstance(pair, list | tuple) or len(pair) != 2:
                    raise ValueError("its pickle has an item of a dictionary that is no pair")
                _set_items(filled, list(pair))
    return filled


def _sequence(*arguments: Any) -> list[Any]:
    return list(arguments[0]) if arguments and isinstance(arguments[0], list | tuple) else []


def _bytes(*arguments: Any) -> Any:
    """Implements ``bytes`` and ``bytearray`` of existing data; of a number they would allocate memory."""
    match arguments:
        case ():
            return b""
        case (bytes() as content,):
            return content
        case (str() as text, str() as encoding) if encoding in ("latin1", "latin-1"):
            return text.encode("latin-1", "replace")
    return Stub("builtins.bytes")


_MODULES = {"__builtin__": "builtins"}
"""Names of modules in Python 3, by their names in Python 2, which protocols below 3 use."""
_CALLS: Mapping[str, Call] = {
    **dict.fromkeys(("collections.OrderedDict", "collections.defaultdict", "builtins.dict"), _dictionary),
    **dict.fromkeys(("builtins.list", "builtins.set", "builtins.frozenset"), _sequence),
    "builtins.tuple": lambda *arguments: tuple(_sequence(*arguments)),
    **dict.fromkeys(("builtins.bytes", "builtins.bytearray", "_codecs.encode"), _bytes),
}
_HARMLESS = frozenset({"builtins.object", "builtins.int", "builtins.float", "builtins.str", "builtins.bool"})
"""Globals that are not listed among the stubbed ones; they become stubs like all others."""
