"""Registries of plug-ins by name: families, backbones, data sets, evaluations and attacks.

One generic class serves every kind. It reads Python entry points, for the harness's own plug-ins and for external
ones. It checks the type of each loaded object, refuses duplicate names, suggests the nearest name for a
misspelt one, and lists a broken plug-in as broken, so that it does not stop the command.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import RequestError, did_you_mean, nearest

__all__ = ["Configured", "Entry", "Named", "Registry", "UnknownNameError", "import_object", "when_asked"]


class Named(Protocol):
    """An object with a name, which every registered object is."""

    @property
    def name(self) -> str:
        """The name by which suites refer to it."""
        ...


T = TypeVar("T", bound=Named)


class UnknownNameError(RequestError):
    """No plug-in of this kind has the name, or the plug-in of that name is broken."""

    def __init__(self, kind: str, name: str, reason: str, hint: str) -> None:
        self.kind, self.name, self.reason, self.hint = kind, name, reason, hint
        super().__init__(f"{reason}; {hint}" if hint else reason)


class Configured(BaseModel):
    """A plug-in that is its own configuration: one frozen object with its parameters, which have defaults.

    Class attributes:
        plugin_kind: What it is, as errors call it, such as ``"attack"``.
        name: The name by which suites refer to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    plugin_kind: ClassVar[str]
    name: ClassVar[str]

    def configured(self, params: Mapping[str, object]) -> Self:
        """An object of this class with these parameters; the others have their defaults.

        Raises:
            ValueError: A parameter is unknown (the nearest name is suggested), or a value is invalid.
        """
        known = type(self).model_fields
        for key in params:
            if key not in known:
                close = nearest(key, known)
                hint = f"; did you mean {close!r}?" if close else ""
                listed = ", ".join(known) or "none"
                raise ValueError(f"{self.plugin_kind} {self.name!r} has no parameter {key!r}{hint} (known: {listed})")
        try:
            return type(self)(**params)
        except ValidationError as error:
            raise ValueError(f"{self.name}: {'; '.join(_said(error))}") from None

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name, in the order of definition."""
        return dict(iter(self))


def _said(error: ValidationError) -> Iterator[str]:
    """The errors that pydantic found, each with its parameter."""
    for found in error.errors(include_url=False, include_context=False):
        where = ".".join(map(str, found["loc"][:1]))
        text = found["msg"].removeprefix("Value error, ")
        yield f"{where} {text}" if where and text.startswith("must be") else (f"{where}: {text}" if where else text)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One plug-in. If it could not be loaded, ``value`` is None and ``error`` is the reason."""

    name: str
    origin: str
    value: T | None = None
    error: str | None = None


def import_object(reference: str) -> object:
    """Import the object that ``"package.module:attribute"`` names.

    Raises:
        ImportError: The module cannot be imported or has no such attribute.
        ValueError: The reference does not have that form.
    """
    module_name, separator, attribute = reference.partition(":")
    if not separator or not module_name or not attribute:
        raise ValueError(f"{reference!r} is not of the form 'package.module:attribute'")
    module = importlib.import_module(module_name)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ImportError(f"module {module_name!r} has no attribute {attribute!r}") from None


def when_asked(reference: str) -> Callable[..., Any]:
    """A function that imports the object ``"package.module:attribute"`` when it is called. Without arguments it returns
    the object; with arguments it calls the object and returns the result. So a registry can name plug-ins that import
    the registry.
    """

    def ask(*arguments: Any) -> Any:
        found: Any = import_object(reference)
        return found(*arguments) if arguments else found

    return ask


@dataclass
class Registry(Generic[T]):
    """All plug-ins of one kind, loaded at first use.

    Args:
        kind: Singular noun for messages, such as ``"family"``.
        plural: Plural noun, such as ``"families"``.
        type: Every loaded object must be an instance of it.
        group: Entry-point group, such as ``"bench.families"``.
        builtin: Returns the harness's own plug-ins, which need no entry point.
        match: For kinds whose names are patterns (``wrn-28-10``): turns (value, name) into the value for that
            name, or None if the pattern does not fit.
        problems: Returns the violations of the contract of its kind in a plug-in's description, as sentences that name
            the field and the allowed values.
    """

    kind: str
    plural: str
    type: type[T]
    group: str
    builtin: Callable[[], Iterable[T]] = tuple
    match: Callable[[T, str], T | None] | None = None
    problems: Callable[[T], Sequence[str]] = field(default=lambda _: ())
    _entries: dict[str, Entry[T]] | None = field(default=None, repr=False)

    def entries(self) -> list[Entry[T]]:
        """Every plug-in, including broken ones, sorted by name."""
        return [entry for _, entry in sorted(self._load().items())]

    def names(self) -> list[str]:
        """The names that ``get`` accepts literally."""
        return [entry.name for entry in self.entries() if entry.value is not None]

    def values(self) -> Iterator[T]:
        """Every plug-in that could be loaded."""
        for entry in self.entries():
            if entry.value is not None:
                yield entry.value

    def get(self, name: str) -> T:
        """The plug-in called ``name``; ``"module:attribute"`` names one that is not registered.

        Raises:
            UnknownNameError: There is no such plug-in, or it is broken; the message gives the reason and a hint.
        """
        if ":" in name:
            return self._import(name)
        entry = self._load().get(name)
        if entry is not None and entry.value is not None:
            return entry.value
        if entry is not None:
            reason = f"{self.kind} {name!r} from {entry.origin} cannot be used: {entry.error}"
            raise UnknownNameError(self.kind, name, reason, "")
        if self.match is not None:
            for value in self.values():
                matched = self.match(value, name)
                if matched is not None:
                    return matched
        # If names are patterns, examples are better hints than the name of the pattern.
        examples = [example for value in self.values() for example in getattr(value, "examples", ())]
        hint = did_you_mean(name, examples or self.names())
        raise UnknownNameError(self.kind, name, f"unknown {self.kind} {name!r}", hint)

    def reset(self) -> None:
        """Forget the loaded plug-ins, so that the next use loads them again (for tests)."""
        self._entries = None

    def _import(self, reference: str) -> T:
        try:
            value = import_object(reference)
        except (Exception, SystemExit) as error:  # a plug-in's module may raise anything at import
            said = error if isinstance(error, ImportError | ValueError) else f"{type(error).__name__}: {error}"
            reason = f"{self.kind} {reference!r} cannot be imported: {said}"
            package = reference.partition(":")[0].partition(".")[0]
            absent = isinstance(error, ModuleNotFoundError) and error.name == package
            hint = "install its package, or put its folder on the path: PYTHONPATH=. bench …" if absent else ""
            raise UnknownNameError(self.kind, reference, reason, hint) from error
        problem = self._contract_problem(value)
        if problem:
            raise UnknownNameError(self.kind, reference, f"{self.kind} {reference!r} {problem}", "")
        return cast(T, value)

    def _load(self) -> dict[str, Entry[T]]:
        if self._entries is None:
            entries: dict[str, Entry[T]] = {}
            for value in self.builtin():
                self._add(entries, Entry(value.name, "bench", value))
            for point in metadata.entry_points(group=self.group):
                self._add(entries, self._from_entry_point(point))
            self._entries = entries
        return self._entries

    def _from_entry_point(self, point: metadata.EntryPoint) -> Entry[T]:
        origin = point.dist.name if point.dist is not None else point.value
        try:
            value = point.load()
        except (Exception, SystemExit) as error:  # a plug-in's module may raise anything at import
            return Entry(point.name, origin, error=f"{type(error).__name__}: {error} ({point.value})")
        problem = self._contract_problem(value)
        if not problem and value.name != point.name and self.match is None:
            problem = f"calls itself {value.name!r} but is registered as {point.name!r}"
        if problem:
            return Entry(point.name, origin, error=f"{point.value} {problem}")
        return Entry(point.name, origin, value)

    def _contract_problem(self, value: object) -> str:
        if isinstance(value, type) and issubclass(value, self.type):
            return f"is a class, expected an instance, as in X = {value.__name__}()"
        if not isinstance(value, self.type):
            return f"is a {type(value).__name__}, expected a {self.type.__name__}"
        try:
            found = self.problems(value)
        except Exception as error:  # reading attributes of a plug-in may raise anything
            return f"cannot be looked at: {type(error).__name__}: {error}"
        return f"breaks its contract: {'; '.join(found)}" if found else ""

    @staticmethod
    def _add(entries: dict[str, Entry[T]], entry: Entry[T]) -> None:
        other = entries.get(entry.name)
        if other is None:
            entries[entry.name] = entry
        else:
            # Neither is used: a result must not depend on the order in which packages were installed.
            error = f"the name is registered twice, by {other.origin} and by {entry.origin}"
            entries[entry.name] = Entry(entry.name, f"{other.origin} and {entry.origin}", error=error)
