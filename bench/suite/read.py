"""Turns a suite file into a ``Suite``: reads it, applies the profile, and puts suites of parts together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.errors import PrerequisiteError, Problem, RequestError, SuiteError
from bench.suite import profile as profiles
from bench.suite.composite import PartsTableReader, data_sets, distinct, on_data_set, problems_of_on
from bench.suite.document import Document, read
from bench.suite.names import Doubtful
from bench.suite.reader import SuiteReader
from bench.suite.schema import Suite, SuiteHeader
from bench.suite.section import Absent, SectionReader

__all__ = ["load_suite"]


def load_suite(
    path: Path,
    profile: Path | None = None,
    *,
    literature: frozenset[str] = frozenset(),
    find: Callable[[str], Path] | None = None,
) -> Suite:
    """Read and validate a suite, with the suites that it includes.

    Args:
        path: The suite file.
        profile: A profile file to apply.
        literature: Names that ``literature = [...]`` may use.
        find: The file of a suite that is included by its bare name; default: beside the file.

    Raises:
        SuiteError: With every mistake found in the suite and its profile.
        PrerequisiteError: There is no mistake, but files of a data set that the suite names are missing.
        RequestError: A file cannot be read.
    """
    suite, problems = _Loader(literature, find, read(profile) if profile is not None else None).load(path)
    if problems and all(isinstance(problem, Absent) for problem in problems):
        raise PrerequisiteError("\n".join(str(problem) for problem in problems))
    if problems or suite is None:
        raise SuiteError(problems)
    return suite


@dataclass(frozen=True)
class _Loader:
    """Loads a suite with its parts.

    Attributes:
        literature: Names that ``literature = [...]`` may use.
        find: As for ``load_suite``.
        profile: The profile to apply.
        above: The files that include this one.
    """

    literature: frozenset[str]
    find: Callable[[str], Path] | None
    profile: Document | None
    above: tuple[Path, ...] = ()

    def load(self, path: Path) -> tuple[Suite | None, list[Problem]]:
        document = read(path)
        if "include" in document.table("suite"):
            return self._including(document)
        names = data_sets(document)
        problems = problems_of_on(document)
        if not names or problems:
            applied = self._applied(document)
            reader = SuiteReader(applied.document, [*problems, *applied.problems])
            return (None, problems) if problems else (reader.suite(applied, self.literature), reader.problems)
        return self._on_several(document, names)

    def _applied(self, document: Document) -> profiles.Applied:
        return profiles.Applied(document) if self.profile is None else profiles.apply(document, self.profile)

    def _on_several(self, document: Document, names: list[str]) -> tuple[Suite | None, list[Problem]]:
        """The suite of several data sets: one for each, and the tables over all of them."""
        problems: dict[Problem, None] = {}
        parts: dict[str, Suite] = {}
        outsides: dict[str, Mapping[str, str]] = {}
        for name in names:
            applied = self._applied(on_data_set(document, name))
            reader = SuiteReader(applied.document, list(applied.problems))
            part = reader.suite(applied, self.literature, original=name)
            problems.update(dict.fromkeys(reader.problems))
            if part is not None:
                parts[name], outsides[name] = part, applied.outside
        if problems or not parts:
            return None, list(problems)
        first = next(iter(parts.values()))
        reader_of_tables = PartsTableReader(
            document=document,
            models=first.models,
            evaluations=first.evaluations,
            unclear_models=Doubtful(),
            unclear_evaluations=Doubtful(),
            literature=self.literature,
            outside={},
            parts=parts,
            outsides=outsides,
        )
        tables = reader_of_tables.tables()
        if "gate" in document.data:
            reader_of_tables.complain(("gate",), "a suite of several data sets has no gate", "bench gate --rule")
        whole = replace(
            first,
            parts=tuple(replace(part, on=name, name=f"{part.name}-{name}") for name, part in parts.items()),
            tables=tuple(tables),
            figures=(),
            original_dataset="",
        )
        return (None, reader_of_tables.problems) if reader_of_tables.problems else (whole, [])

    def _including(self, document: Document) -> tuple[Suite | None, list[Problem]]:
        """The suite that consists of others."""
        reader = SectionReader(document)
        header = reader.check(SuiteHeader, document.data["suite"], ("suite",))
        for key in document.data:
            if key != "suite":
                reader.complain((key,), "a suite that includes others has no other section", "put it into one of them")
        parts: list[Suite] = []
        for place, name in enumerate(header.include if header is not None else ()):
            try:
                found = self._found(name, document.path)
                if found.resolve() in {path.resolve() for path in (*self.above, document.path)}:
                    raise RequestError(f"{name!r} includes this suite")
                loader = replace(self, above=(*self.above, document.path))
                part, problems = loader.load(found)
            except RequestError as error:
                reader.complain(("suite", "include", place), str(error))
                continue
            reader.problems += problems
            if part is not None and part.name in [other.name for other in parts]:
                reader.complain(("suite", "include", place), f"two suites are named {part.name!r}")
            parts += [part] if part is not None else []
        if header is not None and not header.include:
            reader.complain(("suite", "include"), "expected at least one suite")
        if header is None or reader.problems or not parts:
            return None, reader.problems
        whole = replace(
            parts[0],
            name=header.name,
            title=header.title or header.name,
            paper=header.paper,
            path=document.path,
            tables=(),
            figures=(),
            rules=(),
            baseline=None,
            on="",
            parts=distinct(parts),
        )
        return whole, []

    def _found(self, name: str, path: Path) -> Path:
        """The file of an included suite: beside this one, or where suites lie."""
        beside = path.parent / (name if name.endswith(".toml") else f"{name}.toml")
        if beside.is_file() or self.find is None:
            return beside
        return self.find(name)
