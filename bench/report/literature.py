"""Numbers quoted from papers: read from TOML, always with their source, never mixed up with measured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bench.errors import SuiteError
from bench.spec import Config
from bench.suite.document import read, validate

__all__ = ["Literature", "LiteratureRow", "literature_names", "load_literature"]


class _Source(Config):
    name: str
    title: str
    url: str
    note: str = ""


class _Row(Config):
    label: str = Field(description="As the source calls the model")
    family: str = Field("", description="The registered family that it corresponds to, if any")
    dataset: str = Field(description="Data set that the numbers are for")
    table: str = Field(description="Where in the source")
    values: Mapping[str, float] = Field(description="By column id of the shipped suites; fractions in [0, 1]")


class _File(Config):
    source: _Source
    row: tuple[_Row, ...]


@dataclass(frozen=True)
class LiteratureRow:
    """One model's numbers in a source."""

    label: str
    family: str
    dataset: str
    table: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Literature:
    """A source with its rows."""

    name: str
    title: str
    url: str
    rows: tuple[LiteratureRow, ...]


def literature_names(folders: Sequence[Path]) -> frozenset[str]:
    """Names of the files in the literature folders."""
    return frozenset(path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.toml"))


def load_literature(name: str, folders: Sequence[Path]) -> Literature:
    """Read a source.

    Raises:
        SuiteError: The file has mistakes.
        FileNotFoundError: There is none of that name.
    """
    for folder in folders:
        path = folder / f"{name}.toml"
        if not path.is_file():
            continue
        document = read(path)
        data: Any = document.data
        parsed, problems = validate(_File, data, document, ())
        if parsed is None:
            raise SuiteError(problems)
        rows = tuple(
            LiteratureRow(row.label, row.family, row.dataset, row.table, dict(row.values)) for row in parsed.row
        )
        return Literature(parsed.source.name, parsed.source.title, parsed.source.url, rows)
    raise FileNotFoundError(name)
