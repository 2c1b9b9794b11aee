"""Numbers quoted from papers, read from TOML files; each file names its source.

A suite names a source, ``gmmc-2021``, or one of its tables, ``gmmc-2021/Table 5``: several tables of a paper have a
column of accuracy, and a whole source would put the rows of all of them into ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, FiniteFloat, PositiveInt

from bench.errors import RequestError, SuiteError
from bench.spec import Config
from bench.suite.document import read, validate

__all__ = ["Literature", "LiteratureRow", "literature_names", "load_literature"]


class Source(Config):
    """The paper that the numbers are quoted from."""

    name: str
    title: str
    url: str
    note: str = ""


class LiteratureRow(Config):
    """One model's numbers in a source."""

    label: str = Field(description="As the source calls the model")
    family: str = Field("", description="The registered family that it corresponds to, if any")
    dataset: str = Field(description="Data set that the numbers are for")
    table: str = Field(min_length=1, description="Where in the source")
    page: PositiveInt | None = Field(None, description="Page of the source, where known")
    group: str = Field(
        "", description="Heading that the source puts over rows like this one, in the words of our tables"
    )
    n: PositiveInt | None = Field(None, description="Number of test items behind the row's shares, where known")
    threat: str = Field("", description="Threat model of the row's robust numbers, e.g. L_inf 8/255")
    secondary: str = Field("", description="What was read, if it is not the paper that the numbers are of")
    caveat: str = Field("", description="What a reader must know to use the row, in sentences")
    values: Mapping[str, FiniteFloat] = Field(
        min_length=1,
        description="By column id of the shipped suites, or by key of the family's settings; fractions in [0, 1]",
    )


class Literature(Config):
    """A file of quoted numbers."""

    source: Source
    rows: tuple[LiteratureRow, ...] = Field(alias="row")


def literature_names(folders: Sequence[Path]) -> frozenset[str]:
    """The names that `load_literature` takes: of each file in the literature folders, and of each of its tables.

    Of two files with one name the first counts. A file that cannot be read has no tables here; to load it tells why.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        for path in folder.glob("*.toml") if folder.is_dir() else ():
            files.setdefault(path.stem, path)
    return frozenset(files) | {f"{name}/{table}" for name, path in files.items() for table in _tables(path)}


def _tables(path: Path) -> set[str]:
    try:
        rows = read(path).tables("row")
    except (RequestError, SuiteError):
        return set()
    return {row["table"] for row in rows if isinstance(row.get("table"), str)}


def load_literature(name: str, folders: Sequence[Path]) -> Literature:
    """Read the file of a source, or the rows of one of its tables, from the first folder that has the file.

    Args:
        name: Name of the file, without ``.toml``; after a slash, the ``table`` of the wanted rows.
        folders: The literature folders.

    Raises:
        SuiteError: If the file has mistakes.
        FileNotFoundError: If no folder has a file of that name, or the file no such table.
    """
    stem, _, table = name.partition("/")
    for folder in folders:
        path = folder / f"{stem}.toml"
        if not path.is_file():
            continue
        document = read(path)
        found, problems = validate(Literature, document.data, document, ())
        if found is None:
            raise SuiteError(problems)
        if not table:
            return found
        rows = tuple(row for row in found.rows if row.table == table)
        if rows:
            return found.model_copy(update={"rows": rows})
        break
    raise FileNotFoundError(name)
